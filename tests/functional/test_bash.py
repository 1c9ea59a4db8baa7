"""
The ``bash`` command on a running core0.
"""

from typing import Any

from tests.functional.shared import DaemonTestCase


class BashTests(DaemonTestCase):
    """
    The ``bash`` command.
    """

    def bash(self, **arguments: Any) -> dict[str, Any]:
        """
        The result of a script.
        """
        return self.daemon.run_command("bash", arguments)

    def test_script(self) -> None:
        """
        A script runs, and its end is the result.
        """
        result = self.bash(script="cd /usr\npwd\nexit 3")
        self.assertEqual((["/usr\n", ""], "ERROR", 3), (result["streams"], result["state"], result["code"]))

    def test_only_input(self) -> None:
        """
        Input without a script is the script.
        """
        self.assertEqual(["4\n", ""], self.bash(stdin="x=4\necho $x")["streams"])
        self.assertEqual(["4\n", ""], self.bash(script="", stdin="echo 4")["streams"])

    def test_both(self) -> None:
        """
        With both, the script reads the input.
        """
        result = self.bash(script="read first; echo got $first; cat", stdin="one\ntwo")
        self.assertEqual(["got one\ntwo", ""], result["streams"])

    def test_long_script(self) -> None:
        """
        A script that is longer than an argument may be runs all the same; one with input, too, is 400.
        """
        script = "# padding\n" * 30_000 + "echo done"
        self.assertEqual(["done\n", ""], self.bash(script=script)["streams"])
        self.assert_refused(400, "stdin", self.bash(script=script, stdin="text"))

    def test_neither(self) -> None:
        """
        Without a script and input it is 400.
        """
        self.assert_refused(400, "arguments.script", self.bash())
        self.assert_refused(400, "arguments.script", self.bash(script="", stdin=""))
