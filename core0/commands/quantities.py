"""
Quantities as people write them: bytes with a unit, cores as a share.
"""

import math
import re
from collections.abc import Mapping
from fractions import Fraction

from core0.messages import shown

_BYTES = re.compile(r"(?P<number>\d{1,20}(?:\.\d{1,9})?) ?(?P<unit>[kmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_CORES = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,9})?)(?P<unit>m|%|)", re.ASCII)
_POWERS = {unit: Fraction(1024**power) for power, unit in enumerate(("", "k", "m", "g", "t", "p"))}
_SHARES = {"": Fraction(1), "m": Fraction(1, 1000), "%": Fraction(1, 100)}


def read_bytes(value: int | float | str, least: int, most: int) -> int:
    """
    A number of bytes: a number, or text such as ``512M``. Units are powers of 1024, whether ``M``, ``MB`` or ``MiB``.

    :raises ValueError: it is another one, or not between ``least`` and ``most``.
    """
    expected = f"expected bytes, {least} to {most}, or text with a unit (K, M, G, T, powers of 1024) such as 512M"
    number = _read(value, _BYTES, _POWERS)
    if number is None or not least <= number <= most:
        raise ValueError(f"{expected}, got {shown(str(value))}")
    if number != int(number):
        raise ValueError(f"expected a whole number of bytes, got {shown(str(value))}")
    return int(number)


def read_cores(value: float | str, least: float, most: float) -> float:
    """
    A number of cores: a number, or text: ``0.5``, ``50%`` (of one core), ``500m`` (thousandths of one).

    :raises ValueError: it is another one, or not between ``least`` and ``most``.
    """
    expected = f"expected cores, {least} to {most}, such as 0.5, or text such as 50% (of one core) or 500m"
    number = _read(value, _CORES, _SHARES)
    if number is None or not least <= float(number) <= most:
        raise ValueError(f"{expected}, got {shown(str(value))}")
    return float(number)


def _read(value: float | str, pattern: re.Pattern[str], units: Mapping[str, Fraction]) -> Fraction | None:
    """
    A number, exactly, in text times its unit; None for what is none.
    """
    if not isinstance(value, str):
        return None if isinstance(value, float) and not math.isfinite(value) else Fraction(value)
    found = pattern.fullmatch(value)
    return None if found is None else Fraction(found["number"]) * units[found["unit"].lower()]


def read_count(value: int | float | str, least: int, most: int) -> int:
    """
    A whole number; also as text.

    :raises ValueError: it is none, or not between ``least`` and ``most``.
    """
    text = str(value)
    number = int(text) if re.fullmatch(r"\d{1,20}", text, re.ASCII) else -1
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    if not least <= number <= most:
        raise ValueError(f"expected a whole number, {least} to {most}, got {shown(text)}")
    return number
