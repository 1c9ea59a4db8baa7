"""
``core.system`` on a running core0: what programs are given, how they are found, and what is made of their ends.
"""

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

from core0.jobs.process import PATH
from tests.daemon import Daemon
from tests.functional.shared import OWN_OF_LIBC, DaemonTestCase, parse_status, python

FILES = 789  # descriptors that core0 of these tests may open until it raises that itself
STOPPED_OR_IGNORED = {
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGURG,
    signal.SIGWINCH,
}


class SystemTestCase(DaemonTestCase):
    """
    Runs programs.
    """

    def script(self, folder: Path, name: str, text: str, mode: int = 0o755) -> Path:
        """
        A file with this text.
        """
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path


class GivenTests(SystemTestCase):
    """
    What a program gets: arguments, environment, directory, and nothing that core0 has for itself.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One that is started by somebody with odd habits: signals ignored, a umask of its own, a low limit.
        """
        return _Odd(limits={resource.RLIMIT_NOFILE: (FILES, 4096)})

    def test_arguments(self) -> None:
        """
        Arguments arrive as they were sent: spaces, quotes, newlines, stars, nothing at all, any language.
        """
        args = ["a b", "'\"$HOME`id`", "two\nlines", "*", "", "-n", "ünïcödé 漢字 🙂", "\\", "x" * 100_000]
        program = python("import json, sys; print(json.dumps(sys.argv[1:]))", *args)
        self.assertEqual(args, json.loads(self.daemon.run_command("core.system", program)["streams"][0]))

    def test_own_name(self) -> None:
        """
        A program sees the name that it was called by.
        """
        result = self.run_program("sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline")
        self.assertEqual("sh -c", result["streams"][0][:5])

    def test_environment(self) -> None:
        """
        The environment is PATH, LANG and HOME, and nothing of core0's own.
        """
        expected = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": os.path.expanduser("~")}
        self.assertEqual(expected, self.environment())

    def test_environment_added(self) -> None:
        """
        ``env`` is added to that, and wins over it.
        """
        env = {"LANG": "C", "EMPTY": "", "MULTI": "a=b\nc", "ümlaut": "ß"}
        expected = {"PATH": PATH, "HOME": os.path.expanduser("~"), **env}
        self.assertEqual(expected, self.environment(env=env))

    def environment(self, **arguments: Any) -> dict[str, str]:
        """
        What a program finds in its environment.
        """
        entries = self.run_program("cat", "/proc/self/environ", **arguments)["streams"][0].split("\0")[:-1]
        return dict(entry.split("=", 1) for entry in entries)

    def test_directory(self) -> None:
        """
        A program starts in ``dir``, and without one in the root directory, wherever core0 is.
        """
        folder = os.path.realpath(self.folder())
        self.assertEqual([f"{folder}\n", ""], self.run_program("pwd", dir=folder)["streams"])
        self.assertEqual(["/\n", ""], self.run_program("pwd")["streams"])
        self.assertEqual(["/usr\n", ""], self.run_program("pwd", dir="usr")["streams"])

    def test_descriptors(self) -> None:
        """
        A program has descriptors 0, 1 and 2 and no other, while many others run.
        """
        gate = self.gate()
        others = [self.push_sh(gate.wait) for _ in range(20)]
        program = python(
            """
            import os
            for name in os.listdir("/proc/self/fd"):
                try:
                    print(name, os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
                except FileNotFoundError:
                    pass
            """
        )
        for fields, stdin in (({}, "/dev/null"), ({"stdin": "text"}, "pipe"), ({"dir": "/usr"}, "/dev/null")):
            result = self.daemon.run_command("core.system", {**program, **fields})
            self.assertEqual([f"0 {stdin}", "1 pipe", "2 pipe"], sorted(result["streams"][0].splitlines()), result)
        gate.open(len(others))
        for id in others:
            self.assert_success(self.daemon.result(id))

    def test_signals(self) -> None:
        """
        A program starts with all signals at their defaults and none blocked.
        """
        for fields in ({}, {"dir": "/usr"}):
            found = parse_status(self.run_program("cat", "/proc/self/status", **fields)["streams"][0])
            self.assertEqual(0, int(found["SigIgn"], 16) & ~OWN_OF_LIBC, found)
            self.assertEqual((0, 0), (int(found["SigBlk"], 16), int(found["SigCgt"], 16)), found)

    def test_umask_and_limit(self) -> None:
        """
        The umask is 022, and the limit on open files is 1024, neither that of the starter nor the one that core0 works
        with.
        """
        for fields in ({}, {"dir": "/usr"}):
            result = self.run_program("sh", "-c", "umask; ulimit -Sn; ulimit -Hn", **fields)
            self.assertEqual(["0022", "1024", "4096"], result["streams"][0].split())
        self.assertEqual((4096, 4096), resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE))

    def test_session(self) -> None:
        """
        A program leads a session of its own, without a terminal.
        """
        with self.running("ps() { cat /proc/$$/stat; }; ps; touch $ready; sleep 1000") as id:
            result = self.kill(id)
        pid, _, state = result["streams"][0].partition(" (sh) ")
        _, _, group, session, terminal, *_ = state.split()
        self.assertEqual((pid, pid, "0"), (group, session, terminal))


class _Odd(Daemon):
    """
    Started by a shell that ignores signals and has another umask.
    """

    def command(self) -> list[str]:
        """
        Through that shell.
        """
        odd = "trap '' HUP INT QUIT USR1 USR2 TSTP; umask 077; exec \"$@\""
        return ["sh", "-c", odd, "sh", *super().command()]


class EndTests(SystemTestCase):
    """
    How programs end, and what it is called when they cannot even begin.
    """

    def test_exit_status(self) -> None:
        """
        Every exit status is the code of the result; 0 is success, all others are errors.
        """
        ids = [self.push_sh(f"exit {status}") for status in range(256)]
        results = [self.daemon.result(id) for id in ids]
        self.assertEqual([*range(256)], [result["code"] for result in results])
        self.assertEqual(["SUCCESS"] + 255 * ["ERROR"], [result["state"] for result in results])

    def test_death_by_signal(self) -> None:
        """
        Death by a signal is an error with the code 128 + its number.
        """
        deadly = sorted(number for number in signal.valid_signals() if number not in STOPPED_OR_IGNORED)
        program = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        program += "import signal; n = int(sys.argv[1]); n in (9,) or signal.signal(n, 0); os.kill(os.getpid(), n)"
        ids = [self.daemon.push("core.system", python(program, int(number))) for number in deadly]
        results = [self.daemon.result(id) for id in ids]
        self.assertEqual([128 + number for number in deadly], [result["code"] for result in results])
        self.assertEqual({"ERROR"}, {result["state"] for result in results})

    def refused(self, code: int, about: str, name: str, *args: str, **arguments: Any) -> None:
        """
        It is refused in the same way with ``dir`` and without.
        """
        for directory in ({}, {"dir": "/usr"}, {"dir": "/"}):
            self.assert_refused(code, about, self.run_program(name, *args, **{**directory, **arguments}))

    def test_not_found(self) -> None:
        """
        A program that does not exist is 127.
        """
        for name in ("no-such-program", "/no/such/program", "bin-no/such", "../no-such"):
            self.refused(127, name, name)
        self.refused(127, "sh", "sh", env={"PATH": "/no/such/folder"})
        self.refused(127, "sh", "sh", env={"PATH": ""})

    def test_interpreter_not_found(self) -> None:
        """
        So is a script whose interpreter does not exist.
        """
        path = self.script(self.folder(), "script", "#!/no/such/interpreter\n")
        self.refused(127, str(path), str(path))

    def test_not_executable(self) -> None:
        """
        What is no executable file is 126: a text, a folder, a socket, also when it is found on PATH.
        """
        folder = self.folder()
        path = self.script(folder, "text", "#!/bin/sh\n", 0o644)
        for name in (str(path), str(folder), self.daemon.socket):
            self.refused(126, name, name)
        self.refused(126, "text", "text", env={"PATH": f"/no/such/folder:{folder}"})

    def test_no_first_line(self) -> None:
        """
        A script that does not name its interpreter is 126, and the answer says what it lacks.
        """
        path = self.script(self.folder(), "script", "echo hello\n")
        self.refused(126, "#!/bin/sh", str(path))

    def test_no_directory(self) -> None:
        """
        A ``dir`` that does not exist, or is none, is 400, whatever the program.
        """
        folder = self.folder()
        for directory in (f"{folder}/no", str(self.script(folder, "file", ""))):
            for name in ("true", "no-such-program"):
                self.assert_refused(400, directory, self.run_program(name, dir=directory))

    def test_too_long(self) -> None:
        """
        Arguments that the kernel does not take are 400: one that is too long, or too many.
        """
        self.refused(400, "longer than the kernel takes", "true", "x" * 200_000)
        self.refused(400, "longer than the kernel takes", "true", *(40 * ["x" * 100_000]))
        self.refused(400, "longer than the kernel takes", "true", env={"X": "x" * 200_000})

    def test_unspeakable(self) -> None:
        """
        Text that no argument can be is 400, and the answer names the place.
        """
        self.refused(400, "arguments.args[1]", "true", "", "a\0b")
        self.refused(400, "arguments.env", "true", env={"a=b": ""})
        self.refused(400, "arguments.name", "")
        self.refused(400, "arguments.stdin", "true", stdin=7)

    def test_started_again(self) -> None:
        """
        Whatever could not be started leaves nothing behind that is in the way of the next.
        """
        self.run_program("no-such-program")
        self.assert_success(self.run_program("true"))


class FindTests(SystemTestCase):
    """
    Which file a name means.
    """

    def test_relative_to_directory(self) -> None:
        """
        A name with a slash is relative to ``dir``, and to the root directory without one.
        """
        folder = self.folder()
        self.script(folder, "here", "#!/bin/sh\necho here\n")
        self.script(folder / "below", "there", "#!/bin/sh\necho there; pwd\n")
        where = os.path.realpath(folder)
        self.assertEqual("here\n", self.run_program("./here", dir=str(folder))["streams"][0])
        self.assertEqual(f"there\n{where}\n", self.run_program("below/there", dir=str(folder))["streams"][0])
        self.assertEqual(127, self.run_program("here", dir=str(folder))["code"])
        self.assertEqual("here\n", self.run_program(f"{where}/here"[1:])["streams"][0])

    def test_path(self) -> None:
        """
        A name without one is looked up in the PATH of ``env``, past what cannot be executed; parts of it that are not
        absolute are relative to ``dir``.
        """
        folder = self.folder()
        self.script(folder / "first", "program", "", 0o644)
        self.script(folder / "second", "program", "#!/bin/sh\necho second\n")
        self.script(folder, "program", "#!/bin/sh\necho itself\n")
        for path, directory, expected in (
            (f"{folder}/first:{folder}/second:{PATH}", None, "second\n"),
            ("first:second", str(folder), "second\n"),
            (f":{folder}/second", str(folder), "itself\n"),
            (f"{folder}/second:", str(folder), "second\n"),
        ):
            result = self.run_program("program", env={"PATH": path}, dir=directory)
            self.assertEqual([expected, ""], result["streams"], path)
