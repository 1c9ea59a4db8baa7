"""
Tests of what is derived from the configuration: the file that is shipped, the reference, and what any file comes to.
"""

import json
import re
import runpy
import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.config import Config, Service
from core0.config_reader import settings
from core0.errors import ConfigError
from tests.unit.test_config import ConfigCase

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "etc" / "core0.toml").read_text(encoding="utf-8")
SHAPES = {name: type(getattr(Config(), name)) for name in Config.__struct_fields__ if name != "startup"}
SHAPES["startup.NAME"] = Service


class ShippedFileTests(ConfigCase):
    """
    ``etc/core0.toml``.
    """

    def entries(self) -> dict[str, dict[str, tuple[str, Any]]]:
        """
        Section → key → the comment above it, and its value.
        """
        found: dict[str, dict[str, tuple[str, Any]]] = {}
        comment: list[str] = []
        for line in SHIPPED.splitlines():
            if section := re.fullmatch(r"(?:# )?\[([\w.]+)\]", line):
                keys = found.setdefault(section[1], {})
            elif key := re.fullmatch(r"# (\w+) = (.+)", line):
                self.assertNotIn(key[1], keys)
                keys[key[1]] = (" ".join(comment), tomllib.loads(f"value = {key[2]}")["value"])
            comment = [*comment, line[2:]] if line.startswith("# ") else []
        return found

    def test_as_shipped(self) -> None:
        """
        The file as it is shipped means the same as no file.
        """
        self.assertEqual(self.load(SHIPPED), Config())

    def test_every_key(self) -> None:
        """
        It names every key, with what it means, its unit and its default, and nothing else.
        """
        entries = self.entries()
        self.assertEqual(list(entries), list(SHAPES))
        for name, shape in SHAPES.items():
            self.assertEqual(list(entries[name]), list(settings(shape)))
            for key, setting in settings(shape).items():
                unit = f" ({setting.key.unit})" if setting.key.unit else ""
                default = (
                    "core.system" if setting.default is msgspec.NODEFAULT else json.loads(json.dumps(setting.default))
                )
                self.assertEqual(entries[name][key], (setting.key.text + unit, default), f"[{name}] {key}")

    def test_uncommented(self) -> None:
        """
        With every key uncommented it means the same, but for the one service that it shows.
        """
        text = re.sub(r"(?m)^# (\w+ = |\[)", r"\1", SHIPPED)
        service = Service(name="NAME", command="core.system")
        self.assertEqual(self.load(text), msgspec.structs.replace(Config(), startup=(service,)))


class ReferenceTests(SynchronousTestCase):
    """
    The reference of the configuration.
    """

    def test_every_key(self) -> None:
        """
        It has every key once: the default first, then the type, the unit and the meaning.
        """
        text = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))["generate"]()
        for name, shape in SHAPES.items():
            self.assertIn(f"\n``[{name}]``\n---", text)
            for key in settings(shape):
                anchor = f".. _config-{name.lower().replace('.', '-')}-{key.replace('_', '-')}:\n"
                self.assertEqual(text.count(anchor), 1)
                self.assertTrue(text.partition(anchor)[2].startswith(f"\n``{key}``\n    :Default: "))
        entry = """
``kill_grace``
    :Default: ``5.0``
    :Type: a number from 0 to 3600
    :Unit: seconds

    How long after TERM a job that is to end gets KILL.
"""
        self.assertIn(entry, text)
        self.assertIn("\n``command``\n    :Default: none; it is required\n", text)


def toml(value: Any) -> str:
    """
    A value as TOML writes it.
    """
    match value:
        case dict():
            return f"{{{', '.join(f'{toml(key)} = {toml(each)}' for key, each in value.items())}}}"
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case date() | datetime() | time():
            return value.isoformat()
        case float():
            return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


KEYS = {name.partition(".")[0]: st.sampled_from(list(settings(shape))) for name, shape in SHAPES.items()}
WORDS = st.sampled_from(["/x", "25%", "h:1", "redis://h", "(", "a", "b", "core.ping"]) | st.text(max_size=20)
LEAVES = st.booleans() | st.integers() | st.floats() | st.dates() | st.datetimes() | st.times() | WORDS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=8)
SERVICE = st.fixed_dictionaries(
    {"command": WORDS}, optional={"after": st.lists(st.sampled_from("abc")), "tags": VALUES}
)
SECTIONS = {name: st.dictionaries(keys, VALUES, max_size=2) for name, keys in KEYS.items() if name != "startup"}
SECTIONS["startup"] = st.dictionaries(st.sampled_from("abc"), SERVICE | st.dictionaries(KEYS["startup"], VALUES))
TABLES = st.fixed_dictionaries({}, optional=SECTIONS) | st.dictionaries(WORDS | st.sampled_from(list(KEYS)), VALUES)


class AnyFileTests(ConfigCase):
    """
    Whatever a file has in it.
    """

    def outcome(self) -> Config | None:
        try:
            return self.load()
        except ConfigError as error:
            self.assertTrue(str(error).startswith(f"{self.path}: "))
            self.assertNotIn("\n", str(error)[len(str(self.path)) :])
            return None

    @given(TABLES)
    def test_any_table(self, tables: dict[str, Any]) -> None:
        """
        Any TOML is a configuration or is refused in one line that begins with the file; no other error comes of it.
        """
        self.write("\n".join(f"{toml(name)} = {toml(table)}" for name, table in tables.items()))
        config = self.outcome()
        started: set[str] = set()
        for service in config.startup if config else ():
            self.assertLessEqual({*service.after}, started)
            started.add(service.name)

    @given(st.binary() | st.text().map(str.encode))
    def test_any_bytes(self, data: bytes) -> None:
        """
        Any bytes are a configuration or are refused.
        """
        self.path.write_bytes(data)
        self.outcome()

    @given(st.data())
    def test_each_value(self, data: st.DataObject) -> None:
        """
        Every key takes any value, or refuses it by name.
        """
        name, shape = data.draw(st.sampled_from(list(SHAPES.items())))
        key = data.draw(st.sampled_from(list(settings(shape))))
        self.write(f"[{name}]\n{key} = {toml(data.draw(VALUES))}")
        try:
            self.load()
        except ConfigError as error:
            self.assertRegex(str(error), rf"core0\.toml: \[{name}\] (command|{key}): ")
