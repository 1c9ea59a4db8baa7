"""
Tests of the startup services in the configuration.
"""

from typing import Any

from core0.config import Service
from core0.errors import ConfigError
from core0.messages import Level
from tests.unit.test_config import ConfigCase


class StartupTests(ConfigCase):
    """
    The services that run at the start.
    """

    def services(self, **after: str) -> str:
        """
        Services by name, each with the names that it waits for, separated by spaces.
        """
        return "\n".join(f'[startup.{each}]\ncommand = "x"\nafter = {names.split()}' for each, names in after.items())

    def order(self, **after: str) -> str:
        return " ".join(service.name for service in self.load(self.services(**after)).startup)

    def test_order(self) -> None:
        """
        A service comes after all that it waits for, and otherwise where the file has it.
        """
        self.assertEqual(self.order(b="", a="", c=""), "b a c")
        self.assertEqual(self.order(a="c", b="", c="", d="a b"), "b c a d")
        self.assertEqual(self.order(a="b", b="c", c="d d", d=""), "d c b a")
        many = {f"s{number}": f"s{number + 1}" for number in range(3000)}
        self.assertTrue(self.order(**many, s3000="").startswith("s3000 s2999 s2998"))

    def test_phases(self) -> None:
        """
        The phases of old files may be waited for, and mean nothing unless a service has that name.
        """
        self.assertEqual(self.order(a="init net boot", b=""), "a b")
        self.assertEqual(self.order(a="net", net=""), "net a")

    def test_cycle(self) -> None:
        """
        Services that wait for each other are refused, and the error names them.
        """
        prefix = "[startup.a] after: services wait for each other: "
        self.assert_refused(self.services(a="b", b="a"), f"{prefix}a -> b -> a")
        self.assert_refused(self.services(x="", a="b", b="c", c="a", y="c"), f"{prefix}a -> b -> c -> a")
        self.assert_refused(self.services(a="a"), f"{prefix}a -> a")

    def test_unknown(self) -> None:
        """
        Waiting for a service that there is not is refused.
        """
        self.assert_refused(
            self.services(web="databse", database=""),
            '[startup.web] after: no such service "databse"; did you mean "database"?',
        )

    def test_name(self) -> None:
        """
        A name has to be usable as the id of a command.
        """
        self.assertEqual(self.load('[startup."a b"]\ncommand = "x"').startup[0].name, "a b")
        self.assert_refused('[startup.""]', '[startup.""]: expected a name of 1 to 1024 bytes')
        self.assertRaises(ConfigError, self.load, f"[startup.{'x' * 1025}]")

    def test_missing_command(self) -> None:
        """
        A service without a command is refused.
        """
        self.assert_refused("[startup.a]", "[startup.a] command: required, but missing; expected the name of a command")

    def test_fields(self) -> None:
        """
        A service has the fields of a command; its log levels are those of all others unless it says so.
        """
        text = '[logging]\nlevels = [9]\n[startup.a]\ncommand = "bash"\narguments = {script = "ls", n = [1.5, true]}\n'
        expected: dict[str, Any] = {
            "command": "bash",
            "arguments": {"script": "ls", "n": [1.5, True]},
            "log_levels": (Level.CRITICAL,),
        }
        self.assertEqual(self.load(text).startup, (Service(name="a", **expected),))
        rest = 'max_time = -1\nmax_restart = 3\nlog_levels = []\ntags = ["a", "b"]\nrunning_match = "^up"\n'
        expected |= {"max_time": -1.0, "max_restart": 3, "log_levels": (), "tags": ("a", "b"), "running_match": "^up"}
        self.assertEqual(
            self.load(f"{text}{rest}protected = true").startup, (Service(name="a", protected=True, **expected),)
        )

    def test_running_delay(self) -> None:
        """
        A delay of 0 is the default, as it is in old files; one below 0 stays.
        """
        for written, delay in (("0", 2.0), ("-1", -1.0), ("0.5", 0.5)):
            text = f'[startup.a]\ncommand = "x"\nrunning_delay = {written}'
            self.assertEqual(self.load(text).startup[0].running_delay, delay)
