"""
corectl, as somebody uses it in a shell, against a real core0.
"""

import json
import os
import signal
import subprocess
import uuid
from typing import Any

from tests.daemon import PATIENCE, eventually
from tests.functional.corectl_shared import CORECTL, CorectlTestCase


class RunTests(CorectlTestCase):
    """
    ``corectl run``.
    """

    def sh(self, script: str, *options: str, **more: Any) -> "subprocess.CompletedProcess[bytes]":
        """
        Run a shell script on the other side.
        """
        return self.corectl("run", *options, "--", "sh", "-c", script, **more)

    def test_output(self) -> None:
        """
        What a program prints comes out exactly as it was, on stdout and stderr.
        """
        for out in ("", "a", "a\n", "a\nb", "\n\na\r\n\n", "é☃\0\t", "::\n:::\n99::x\n"):
            self.assert_done(self.corectl("run", "--", "printf", "%b", out.replace("\0", "\\0000")), 0, out.encode())
        self.assert_done(self.sh("echo out; printf err >&2"), 0, b"out\n", b"err")

    def test_much_output(self) -> None:
        """
        Output of half a megabyte that is printed at once comes out whole, be it short lines or a long one.
        """
        lines = "".join(f"{number}\n" for number in range(1, 80_001)).encode()
        self.assert_done(self.corectl("run", "seq", "80000"), 0, lines)
        line = "é" * 250_000
        self.assert_done(self.corectl("run", "--stdin", "-", "cat", stdin=line.encode()), 0, line.encode())

    def test_flood(self) -> None:
        """
        However much is printed, all of it comes out: the program waits for its reader.
        """
        done = self.sh("seq 500000; echo END")
        self.assert_done(done, 0, b"".join(b"%d\n" % number for number in range(1, 500_001)) + b"END\n")

    def test_no_text(self) -> None:
        """
        Bytes that are no text come out as they are, at the end of a line, in it, and without one.
        """
        done = self.sh(r"printf '\377\376a\n\200'; printf '\303' >&2")
        self.assert_done(done, 0, b"\xff\xfea\n\x80", b"\xc3")

    def test_live(self) -> None:
        """
        A line comes out when it is printed, not when the program ends.
        """
        gate = self.gate()
        process = self.begin("run", "sh", "-c", f"echo before; {gate.wait}; echo after")
        assert process.stdout is not None
        self.assertEqual(b"before\n", process.stdout.readline())
        gate.open()
        self.assertEqual(b"after\n", process.stdout.read())
        self.assertEqual(0, process.wait(PATIENCE))

    def test_levels(self) -> None:
        """
        Messages for people come out on stderr, results on stdout at the end, others not at all.
        """
        script = "echo 20::[1]; echo plain; for level in 2 3 4 5 6 7 8 9 10 11; do echo $level::text $level; done"
        done = self.sh(script, "--messages")
        err = "".join(f"text {level}\n" for level in (2, 3, 4, 7, 8, 9))
        self.assert_done(done, 0, b"plain\n[1]\n", err.encode())

    def test_no_levels(self) -> None:
        """
        Unless messages are asked for, no line is one: what grep finds comes out as it was.
        """
        text = b"one\n:param x: y\n20::x\n7:::z\nlast\n"
        found = b"".join(b"%d:%s\n" % (number, line) for number, line in enumerate(text.split(b"\n")[:-1], 1))
        self.assert_done(self.corectl("run", "--stdin", "-", "grep", "-n", "", stdin=text), 0, found)

    def test_exit_status(self) -> None:
        """
        corectl exits as the program did, death by a signal included.
        """
        for script, code in (("exit 1", 1), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)):
            self.assert_done(self.sh(script), code)

    def test_no_such_program(self) -> None:
        """
        A program that does not exist is 127, one that is not executable 126, with the reason on stderr.
        """
        self.assert_failed(self.corectl("run", "no-such-program"), 127, "corectl: cannot run 'no-such-program'")
        self.assert_failed(self.corectl("run", "/etc/passwd"), 126, "not an executable file")

    def test_refused(self) -> None:
        """
        What core0 refuses is 1, with the reason on stderr.
        """
        self.assert_failed(self.corectl("run", "--dir", "/no/such/folder", "ls"), 1, "'/no/such/folder'")
        self.assert_failed(self.corectl("run", ""), 1, "PROGRAM: expected a program")

    def test_environment(self) -> None:
        """
        Directory and variables are those that were asked for.
        """
        done = self.sh('pwd; echo "$A|$B"', "--dir", "/usr", "--env", "A=1=2", "--env", "B=")
        self.assert_done(done, 0, b"/usr\n1=2|\n")

    def test_bad_variable(self) -> None:
        """
        A variable without a name or a value is a mistake on the command line.
        """
        self.assert_failed(self.corectl("run", "--env", "A", "ls"), 2, "NAME=VALUE")

    def test_stdin(self) -> None:
        """
        The program reads the text that is given, or what corectl reads; without either, nothing.
        """
        self.assert_done(self.corectl("run", "--stdin", "é\nb", "cat"), 0, "é\nb".encode())
        self.assert_done(self.corectl("run", "--stdin", "-", "cat", stdin=b"from here"), 0, b"from here")
        self.assert_done(self.corectl("run", "cat", stdin=b"from here"), 0)

    def test_stdin_no_text(self) -> None:
        """
        Bytes that are no text cannot be passed on, and it is said so.
        """
        self.assert_failed(self.corectl("run", "--stdin", "-", "cat", stdin=b"\xff"), 2, "UTF-8")

    def test_argument_no_text(self) -> None:
        """
        Neither can an argument.
        """
        self.assert_failed(self.corectl("run", "echo", os.fsdecode(b"\xff")), 1, "UTF-8")

    def test_options_of_program(self) -> None:
        """
        Options behind the program are the program's.
        """
        self.assert_done(self.corectl("run", "echo", "--dir", "-h", "--"), 0, b"--dir -h --\n")

    def test_max_time(self) -> None:
        """
        A program that takes longer than it may is ended, and it is said so.
        """
        self.assert_failed(self.corectl("run", "--max-time", "0.2", "sleep", "1000"), 143, "longer than its max_time")

    def test_max_restart(self) -> None:
        """
        The output of all runs comes out.
        """
        self.assert_done(self.sh("echo run; exit 4", "--max-restart", "1"), 4, b"run\nrun\n")

    def test_queue(self) -> None:
        """
        Programs of one queue run one after another.
        """
        queue = str(uuid.uuid4())
        with self.running("touch $ready; sleep 1000", queue=queue) as id:
            process = self.begin("run", "--queue", queue, "--id", f"{queue}-2", "echo", "second")
            self.until(f"{queue}-2", "waiting")
            self.kill(id)
            self.assertEqual((b"second\n", b""), process.communicate(timeout=PATIENCE))

    def test_timeout(self) -> None:
        """
        Who does not wait any longer gets 124; the program goes on.
        """
        id = str(uuid.uuid4())
        done = self.corectl("run", "--timeout", "0.5", "--id", id, "sleep", "1000")
        self.assert_failed(done, 124, id)
        self.assertIsNotNone(self.known(id))
        self.kill(id)

    def stopped(self, *words: str) -> "subprocess.Popen[bytes]":
        """
        Have corectl send something to a core0 that does not take it.
        """
        self.daemon.signal(signal.SIGSTOP)
        self.addCleanup(self.daemon.signal, signal.SIGCONT)
        process = self.begin(*words)
        eventually(lambda: self.pending() > 0 or process.poll() is not None, "it is pushed")
        return process

    def test_timeout_not_taken(self) -> None:
        """
        What core0 has not taken when the time is up is taken back, and it is said so.
        """
        for command in ("run", "--json"), ("run",):
            process = self.stopped(*command, "--timeout", "1", "echo", "hi")
            out, err = process.communicate(timeout=PATIENCE)
            self.assertEqual((124, b""), (process.returncode, out))
            self.assertIn("it was taken back", err.decode())
            self.assertNotIn("goes on", err.decode())
            self.assertEqual(0, self.pending())
            self.daemon.signal(signal.SIGCONT)

    def test_interrupted_not_taken(self) -> None:
        """
        Ctrl-C takes back what core0 has not taken yet.
        """
        process = self.stopped("run", "echo", "hi")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((130, b"", 0), (process.returncode, out, self.pending()))
        self.assertIn("it was taken back", err.decode())

    def test_stdin_too_large(self) -> None:
        """
        More on stdin than core0 takes is refused at once, with the reason.
        """
        for options in ((), ("--json",), ("--timeout", "100")):
            done = self.corectl("run", *options, "--stdin", "-", "--", "wc", "-c", stdin=b"a" * 17_000_000)
            self.assertEqual(1, done.returncode, done.stderr)
            self.assertIn(b"max_command", done.stdout if "--json" in options else done.stderr)
            self.assertNotIn(b"goes on", done.stderr)

    def test_id_of_another(self) -> None:
        """
        An id that stands for another command is told, and what that has printed is not shown.
        """
        id = str(uuid.uuid4())
        self.assert_done(self.corectl("run", "--id", id, "echo", "hi"), 0, b"hi\n")
        self.assert_done(self.corectl("run", "--id", id, "echo", "hi"), 0, b"hi\n")
        done = self.corectl("run", "--json", "--id", id, "echo", "ho")
        self.assert_failed(done, 1, "other content")
        self.assert_failed(self.corectl("run", "--id", id, "echo", "ho"), 1, "other content")

    def test_detach(self) -> None:
        """
        A program can be left to itself; its id is printed, and its result is there later.
        """
        done = self.corectl("run", "--detach", "--tag", "a", "--tag", "b", "echo", "hi")
        id = done.stdout.decode().strip()
        self.assert_done(done, 0, f"{uuid.UUID(id)}\n".encode())
        found = self.daemon.result(id)
        self.assertEqual(["a", "b"], found["tags"])
        self.assert_done(self.corectl("result", id), 0, b"hi\n")

    def test_json(self) -> None:
        """
        The result can be had as it is.
        """
        done = self.corectl("run", "--json", "sh", "-c", "echo hi; exit 3")
        self.assertEqual(3, done.returncode)
        found = json.loads(done.stdout)
        self.assertEqual(self.daemon.result(found["id"]), found)
        self.assertEqual(["hi\n", ""], found["streams"])

    def test_interrupted(self) -> None:
        """
        Ctrl-C, TERM and HUP end the program, which can say good-bye, and corectl exits as programs do that get them.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            script = "trap 'echo bye; exit 0' TERM; echo $$; while :; do sleep 0.02; done"
            process = self.begin("run", "sh", "-c", script)
            assert process.stdout is not None
            pid = process.stdout.readline().decode().strip()
            process.send_signal(number)
            out, _ = process.communicate(timeout=PATIENCE)
            self.assertEqual((128 + number, b"bye\n"), (process.returncode, out))
            self.assertFalse(os.path.exists(f"/proc/{pid}"))

    def test_interrupted_twice(self) -> None:
        """
        Ctrl-C once more leaves at once, whatever core0 does.
        """
        process = self.begin("run", "sh", "-c", "echo ready; sleep 1000")
        assert process.stdout is not None
        process.stdout.readline()
        self.daemon.signal(signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGINT)
            # until the first one has been seen, the second would be one with it
            eventually(lambda: self.pending() > 0, "core.kill is pushed")
            process.send_signal(signal.SIGINT)
            self.assertEqual(130, process.wait(PATIENCE))
        finally:
            self.daemon.signal(signal.SIGCONT)

    def pending(self) -> int:
        """
        Commands that core0 has not taken.
        """
        with self.daemon.redis() as client:
            return int(client.llen("core:default"))

    def test_reader_gone(self) -> None:
        """
        If nobody reads the output any more, the program is ended.
        """
        id = str(uuid.uuid4())
        process = self.begin("run", "--id", id, "sh", "-c", "while echo more; do sleep 0.02; done")
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(141, process.wait(PATIENCE))
        assert process.stderr is not None
        self.assertEqual(b"", process.stderr.read())
        self.assertEqual("KILLED", self.daemon.result(id)["state"])

    def test_no_room(self) -> None:
        """
        If the output cannot be written, it is said so and the program is ended.
        """
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*CORECTL, "run", "sh", "-c", "echo text; sleep 1000"],
                env=self.environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=PATIENCE,
            )
        self.assertEqual((1, b"corectl: [Errno 28] No space left on device\n"), (done.returncode, done.stderr))


class CommandTests(CorectlTestCase):
    """
    The other commands.
    """

    def test_ping(self) -> None:
        """
        core0 is there.
        """
        self.assert_done(self.corectl("ping"), 0, b"pong\n")

    def test_raw(self) -> None:
        """
        A command in JSON is pushed, with an id if it has none, and its result is printed.
        """
        id = str(uuid.uuid4())
        for text, expected in (('{"command": "core.ping"}', None), (f'{{"id": "{id}", "command": "core.ping"}}', id)):
            done = self.corectl("raw", text)
            found = json.loads(done.stdout)
            self.assertEqual((0, '"pong"'), (done.returncode, found["data"]))
            self.assertEqual(str(uuid.UUID(found["id"])) if expected is None else expected, found["id"])

    def test_raw_stdin(self) -> None:
        """
        The command may come from stdin.
        """
        done = self.corectl("raw", "-", stdin='{"command": "core.system", "arguments": {"name": "é"}}'.encode())
        self.assertEqual((127, "ERROR"), (done.returncode, json.loads(done.stdout)["state"]))

    def test_raw_unknown(self) -> None:
        """
        A command that does not exist is 1.
        """
        done = self.corectl("raw", '{"command": "no.such"}')
        self.assertEqual((1, "UNKNOWN_CMD"), (done.returncode, json.loads(done.stdout)["state"]))

    def test_raw_of_another(self) -> None:
        """
        A command whose id stands for another one is told so.
        """
        id = str(uuid.uuid4())
        first, second = (
            json.dumps({"id": id, "command": "core.system", "arguments": {"name": "echo", "args": [text]}})
            for text in "12"
        )
        self.assertEqual(0, self.corectl("raw", first).returncode)
        self.assert_failed(self.corectl("raw", second), 1, "other content")
        self.assertEqual(0, self.corectl("raw", first).returncode)

    def test_raw_timeout(self) -> None:
        """
        Who does not wait any longer gets 124, as with every other command.
        """
        id = str(uuid.uuid4())
        command = {"id": id, "command": "core.system", "arguments": {"name": "sleep", "args": ["1000"]}}
        self.assert_failed(self.corectl("raw", "--timeout", "0.5", json.dumps(command)), 124, f"{id} within 0.5 s")
        self.assert_failed(self.corectl("result", "--timeout", "0.5", id), 124, f"{id} within 0.5 s")
        self.assert_done(self.corectl("kill", id))

    def test_raw_bad_id(self) -> None:
        """
        What core0 cannot answer, since its id is none, is not sent.
        """
        ids: tuple[Any, ...] = (5, "x" * 1025, "\ud800", [])
        for id in ids:
            done = self.corectl("raw", json.dumps({"id": id, "command": "core.ping"}))
            self.assert_failed(done, 2, "id of 1 to 1024 bytes")

    def test_raw_nonsense(self) -> None:
        """
        What could never be answered is not pushed.
        """
        for text in ("", "nonsense", "[]", '"text"'):
            self.assert_failed(self.corectl("raw", text), 2, "JSON")

    def test_state(self) -> None:
        """
        What core0 and its jobs consume is shown as a table, or as core0 sends it.
        """
        table = self.corectl("state").stdout.decode().splitlines()
        self.assertEqual(["cpu", "rss", "vms", "swap"], table[0].split())
        self.assertEqual(["all", "core0"], [line.split()[0] for line in table[1:3]])
        found = json.loads(self.corectl("state", "--json").stdout)
        self.assertEqual({"cpu", "rss", "vms", "swap", "jobs", "core0"}, set(found))

    def test_ps(self) -> None:
        """
        Jobs are listed with what they run.
        """
        with self.running("touch $ready; sleep 1000 # [bold]") as id:
            table = self.corectl("ps").stdout.decode().splitlines()
            self.assertEqual(["id", "command", "state", "runs", "started", "cpu", "rss"], table[0].split())
            self.assertTrue(table[1].startswith(f"{id}  sh -c touch $ready; sleep 1000 # [bold]  running"), table)
            found = json.loads(self.corectl("ps", "--json").stdout)
            self.assertIn(id, [job["cmd"]["id"] for job in found])

    def test_kill(self) -> None:
        """
        A job is ended, and nothing is printed.
        """
        with self.running("touch $ready; sleep 1000") as id:
            self.assert_done(self.corectl("kill", id))
            self.assertEqual("KILLED", self.daemon.result(id)["state"])

    def test_kill_signal(self) -> None:
        """
        A signal is sent, by name or number.
        """
        for name in ("USR1", "10"):
            with self.running("trap 'exit 7' USR1; touch $ready; while :; do sleep 0.02; done") as id:
                self.assert_done(self.corectl("kill", "--signal", name, id))
                self.assertEqual(7, self.daemon.result(id)["code"])

    def test_kill_nothing(self) -> None:
        """
        A job that does not exist cannot be ended.
        """
        self.assert_failed(self.corectl("kill", "no-such-job"), 1, "cannot find job 'no-such-job'")

    def test_result(self) -> None:
        """
        A result is shown as the command printed it, and corectl exits as the command did.
        """
        id = self.push_sh("echo out; printf err >&2; echo '20::{}'; exit 5")
        self.assert_done(self.corectl("result", "--timeout", "20", id), 5, b"out\n{}\n", b"err")
        done = self.corectl("result", "--json", id)
        self.assertEqual((5, self.daemon.result(id)), (done.returncode, json.loads(done.stdout)))

    def test_no_result(self) -> None:
        """
        If there is no result, it is said so.
        """
        self.assert_failed(self.corectl("result", "no-such-job"), 1, "no result of no-such-job")
        self.assert_failed(self.corectl("result", "--timeout", "0.2", "no-such-job"), 124, "no result of no-such-job")

    def test_info(self) -> None:
        """
        The facts about the host are shown as tables, or as core0 sends them.
        """
        for what in ("os", "cpu", "mem", "disk", "nic"):
            done = self.corectl("info", what)
            self.assertEqual((0, b""), (done.returncode, done.stderr))
            self.assertGreater(len(done.stdout.splitlines()), 1)
            self.assertTrue(json.loads(self.corectl("info", what, "--json").stdout))
