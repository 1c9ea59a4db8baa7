"""
Tests of the documentation: that it builds, and that what is made from the program is complete.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from core0.commands import COMMANDS
from core0.config_reader import settings
from core0.jobs.job import NEXT
from core0.redis import acl, keys
from docs import generate_acl, generate_commands, generate_configuration, generate_states

ROOT = Path(__file__).parents[2]


class GeneratedTests(SynchronousTestCase):
    """
    What the generators write.
    """

    def test_every_command(self) -> None:
        """
        The reference has each command once, with its arguments.
        """
        text = generate_commands.generate()
        for command in COMMANDS:
            name = command.name  # type: ignore[attr-defined] # an ICommand
            self.assertEqual(1, text.count(f"\n``{name}``\n---"), name)
            chapter = text.partition(f"\n``{name}``\n---")[2].partition("\n.. _command-")[0]
            for field in command.arguments.__struct_fields__:  # type: ignore[attr-defined]
                self.assertIn(f"\n* ``{field}``: ", chapter)

    def test_argument(self) -> None:
        """
        An argument is described by its JSON type and its default.
        """
        text = generate_commands.generate()
        self.assertIn("\n* ``name``: string; required\n", text)
        self.assertIn("\n* ``args``: list of strings or null; default ``null``\n", text)
        self.assertIn("\n* ``env``: object of strings or null; default ``null``\n", text)

    def test_argument_with_fields(self) -> None:
        """
        An argument that is an object of known fields is described with each of them.
        """
        text = generate_commands.generate().partition("\n``corex.create``\n---")[2]
        self.assertIn(
            "\n* ``limits``: object or null; default ``null``\n\n  * ``memory``: integer or number or string or null;",
            text,
        )
        self.assertIn("\n  What a container may use: ``memory`` in bytes", text)

    def test_every_key(self) -> None:
        """
        The reference of the configuration has each key once.
        """
        text = generate_configuration.generate()
        for name, shape in generate_configuration.sections():
            chapter = text.partition(f"\n``[{name}]``\n---")[2].partition("\n``[")[0]
            for key in settings(shape):
                self.assertEqual(1, chapter.count(f"\n``{key}``\n    :Default: "), f"[{name}] {key}")

    def test_every_step(self) -> None:
        """
        The diagram of a job has each step that a job may take, and no other.
        """
        phase, found = "", set()
        for match in re.finditer(r"(?m)^ {4}(\w*) *--> (\w+)$", generate_states.generate()):
            phase = match[1] or phase
            found.add((phase, match[2]))
        self.assertEqual({(str(before), str(after)) for before, steps in NEXT.items() for after in steps}, found)

    def test_every_right(self) -> None:
        """
        What clients may do is listed as the server is told.
        """
        text = generate_acl.generate()
        for key in (*acl.WRITABLE, *acl.READABLE):
            self.assertIn(f"``{key}``", text)
        for command in acl.COMMANDS:
            self.assertIn(f"``{command.replace('|', ' ').upper()}``", text)

    def test_every_right_of_corex(self) -> None:
        """
        What the CoreX of a container may do is listed as the server is told: each key once, with its commands.
        """
        text = generate_acl.generate_corex()
        for key in (keys.orders, keys.corex_results, keys.corex_records):
            self.assertEqual(1, text.count(f"* ``{key(7).replace('7', '<n>')}``, "))
        for rule in acl.corex_rules(7, "#hash"):
            for command in re.findall(r"\+(\w+)", rule):
                self.assertIn(f"``{command.upper()}``", text)


class BuildTests(SynchronousTestCase):
    """
    The pages as Sphinx makes them.
    """

    folder: ClassVar[tempfile.TemporaryDirectory[str]]
    output: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Build them.
        """
        cls.folder = tempfile.TemporaryDirectory(prefix="core0-docs-")
        words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-d", f"{cls.folder.name}/doctrees"]
        words += [str(ROOT / "docs"), f"{cls.folder.name}/html"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
        cls.output = f"exit status {done.returncode}\n{done.stdout}{done.stderr}"

    @classmethod
    def tearDownClass(cls) -> None:
        """
        Remove them.
        """
        cls.folder.cleanup()

    def page(self, name: str) -> str:
        """
        The text of a page.
        """
        return (Path(self.folder.name) / "html" / f"{name}.html").read_text(encoding="utf-8")

    def test_builds(self) -> None:
        """
        They build without a warning.
        """
        self.assertEqual("exit status 0\n", self.output)

    def test_commands(self) -> None:
        """
        Each command can be linked to.
        """
        page = self.page("reference/commands")
        for command in COMMANDS:
            anchor = command.name.replace(".", "-")  # type: ignore[attr-defined] # an ICommand
            self.assertIn(f'id="command-{anchor}"', page)

    def test_keys(self) -> None:
        """
        Each key of the configuration can be linked to.
        """
        page = self.page("reference/configuration")
        for name, shape in generate_configuration.sections():
            for key in settings(shape):
                anchor = f"config-{name}-{key}".lower().replace(".", "-").replace("_", "-")
                self.assertIn(f'id="{anchor}"', page)
