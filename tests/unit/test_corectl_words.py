"""
corectl tells what core0 says in its own words.
"""

from twisted.trial.unittest import SynchronousTestCase

from core0.client.words import ours


class WordsTests(SynchronousTestCase):
    """
    Reasons of core0's.
    """

    def test_told(self) -> None:
        """
        An argument is told as the option that it has come from, and a command as that of corectl.
        """
        for command, text, expected in (
            ("core.system", "arguments.dir: expected x", "--dir: expected x"),
            ("core.system", 'arguments.name: expected a program, got ""', 'PROGRAM: expected a program, got ""'),
            ("core.system", "arguments.args[1]: expected x", "the arguments of the program: expected x"),
            ("core.system", "arguments.env['A B']: expected x", "--env A B: expected x"),
            ("core.system", "max_time: expected `float`", "--max-time: expected `float`"),
            ("core.system", "tags[0]: expected x", "--tag[0]: expected x"),
            ("core.kill", "arguments.signal: expected x", "--signal: expected x"),
            ("corex.dispatch", "arguments.command: max_restart: expected x", "--max-restart: expected x"),
            (
                "corex.dispatch",
                "there is no container 9; corex.list tells which there are",
                "there is no container 9; see: corectl container list",
            ),
            ("corex.create", "arguments.plist: '/x': no such file", "PLIST: '/x': no such file"),
            ("corex.create", "arguments.limits.memory: expected x", "--memory: expected x"),
            ("corex.create", "arguments.mount['/a:b']: expected x", "--mount /a:b: expected x"),
            ("corex.create", "arguments.mount: '/x': no such directory", "--mount: '/x': no such directory"),
            (
                "corex.create",
                "arguments.port: expected nothing with host_network, which has ports",
                "--port: expected nothing with --host-network, which has ports",
            ),
            (
                "corex.create",
                "arguments.network.bridge[0]: there is no bridge 'b'; see bridge.list",
                "--bridge: there is no bridge 'b'; see: corectl bridge list",
            ),
            ("corex.terminate", "arguments.container: expected x", "N: expected x"),
            (
                "bridge.create",
                "arguments.network.settings.cidr: required, but missing",
                "--cidr: required, but missing",
            ),
            (
                "bridge.delete",
                "arguments.name: there is no bridge 'b'; see bridge.list",
                "NAME: there is no bridge 'b'; see: corectl bridge list",
            ),
        ):
            self.assertEqual(expected, ours(text, command))

    def test_left_alone(self) -> None:
        """
        What somebody has typed is not changed, nor what is about nothing that corectl has.
        """
        for text in (
            "cannot run 'arguments.name': permission denied",
            "cannot run 'x; see bridge.list': permission denied",
            "there is no job 'id: 5'",
            "payload of 9 bytes: at most 8 are taken ([redis] max_command)",
            "",
            "arguments",
            "arguments: nested too deeply: at most some 1,000 levels",
        ):
            for command in ("core.system", "corex.create", "no.such"):
                self.assertEqual(text, ours(text, command))

    def test_no_such_option(self) -> None:
        """
        An argument for which there is no option is told as it is.
        """
        self.assertEqual(
            "network.more: no such argument", ours("arguments.network.more: no such argument", "corex.create")
        )
