"""
The reference of the configuration, as reStructuredText, made from the classes that read it.

``python docs/generate_configuration.py`` prints it.
"""

import inspect
import json
from collections.abc import Iterator
from typing import get_type_hints

import msgspec
from msgspec import Struct

from core0.config import Config, Service
from core0.config_reader import Setting, settings


def generate() -> str:
    """
    One chapter a section, one entry a key.
    """
    return "\n".join(line for name, shape in sections() for line in _section(name, shape))


def sections() -> list[tuple[str, type[Struct]]]:
    """
    The sections of the file, in their order; that of a service under ``startup.NAME``.
    """
    shapes = {name: shape for name, shape in get_type_hints(Config).items() if name != "startup"}
    return [*shapes.items(), ("startup.NAME", Service)]


def _section(name: str, shape: type[Struct]) -> Iterator[str]:
    title = f"``[{name}]``"
    yield from (f".. _config-{name.lower().replace('.', '-')}:", "", title, "-" * len(title), "")
    yield from (_literal(inspect.getdoc(shape) or ""), "")
    for setting in settings(shape).values():
        yield from _entry(name, setting)


def _entry(section: str, setting: Setting) -> Iterator[str]:
    yield from (f".. _config-{section.lower().replace('.', '-')}-{setting.name.replace('_', '-')}:", "")
    yield f"``{setting.name}``"
    yield f"    :Default: {_default(setting)}"
    yield f"    :Type: {_literal(setting.expected)}"
    if setting.key.unit:
        yield f"    :Unit: {setting.key.unit}"
    yield from ("", f"    {_literal(setting.key.text)}", "")


def _default(setting: Setting) -> str:
    if setting.default is msgspec.NODEFAULT:
        return "none; it is required"
    return f"``{json.dumps(setting.default)}``"


def _literal(text: str) -> str:
    return text.replace("`", "``")


if __name__ == "__main__":
    print(generate())
