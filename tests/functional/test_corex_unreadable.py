"""
Containers whose record nobody can read when core0 starts.
"""

import json
from pathlib import Path

from tests.daemon import eventually
from tests.functional.shared import answer_of, lives, sh
from tests.functional.test_corex_restart import RestartTestCase


class UnreadableTests(RestartTestCase):
    """
    A core0 that is killed, a record that changes, and a core0 that starts.
    """

    def record(self, number: int) -> Path:
        """
        Of a container.
        """
        return self.daemon.state / "containers" / str(number) / "container.json"

    def test_ended(self) -> None:
        """
        A container whose record is damaged, of another version, or gone, is ended with all that is left of it, and its
        commands are answered; the others live on.
        """
        number, *others = [self.create() for _ in range(4)]
        garbled, newer, missing = others
        jobs = [self.dispatch(each, "core.system", sh("sleep 60")) for each in others]
        for each in others:
            eventually(lambda each=each: "sleep" in self.inside_sh(each, "ps"), "its job runs")
        inits = [json.loads(self.record(each).read_text())["init"]["pid"] for each in others]
        self.daemon.crash()
        text = self.record(newer).read_text()
        self.record(garbled).write_text(text[:50])
        self.record(newer).write_text(json.dumps({**json.loads(text), "version": 2}))
        self.record(missing).unlink()
        self.daemon.start()
        for each, job, init in zip(others, jobs, inits, strict=True):
            self.assert_gone(self.daemon.result(job), f"container {each}", "gone")
            self.assertFalse(lives(init))
            self.assertFalse(self.record(each).parent.exists())
        self.assertEqual([str(number)], list(self.listed()))
        self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))
        log = self.daemon.output()
        for each in others:
            self.assertIn(f"container {each}, which nothing is known of any more, was ended and removed", log)

    def test_not_now(self) -> None:
        """
        A core0 that cannot read a record now starts, says which, touches nothing of that container, and makes no other;
        once it can be read all goes on, and what its commands have come to is told.
        """
        other, number = self.create(), self.create()
        job = self.dispatch(number, "core.system", sh("while [ ! -e /data/go ]; do sleep 0.1; done; echo done"))
        eventually(lambda: "sleep 0.1" in self.inside_sh(number, "ps"), "its job runs")
        init = json.loads(self.record(number).read_text())["init"]["pid"]
        self.daemon.crash()
        path = self.record(number)
        path.rename(path.with_name("aside"))
        path.mkdir()
        self.daemon.start()
        self.assertEqual([str(other)], list(self.listed()))
        self.assertEqual("pong", answer_of(self.inside(other, "core.ping")))
        for command, arguments in (
            ("corex.terminate", {"container": number}),
            ("corex.dispatch", {"container": number, "command": {"command": "core.ping"}}),
            ("corex.create", {"plist": "/no/such"}),
        ):
            result = self.daemon.run_command(command, arguments)
            self.assertEqual(503, result["code"], result)
            self.assertIn(f"{path}: Is a directory", answer_of(result))
        self.assertTrue(lives(init))
        path.rmdir()
        path.with_name("aside").rename(path)
        eventually(lambda: str(number) in self.listed(), "it is read")
        self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))
        self.go(init)
        self.assertEqual(["done\n", ""], self.daemon.result(job)["streams"])
        self.terminate(self.create())
