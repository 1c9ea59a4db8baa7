"""
The connection between core0 and its clients' server is lost at bad moments.
"""

import json
import threading
from pathlib import Path
from typing import ClassVar

from core0.redis.script import CLAIM, FINISH, MARK, REREAD, SCRIPTS, TAKE
from tests.daemon import chance, eventually
from tests.functional.proxy import Proxy
from tests.functional.served import ServedTestCase
from tests.functional.shared import GENEROUS, lines, sh
from tests.valkey import ServedDaemon, exactly_one

MOMENTS = {"taking": TAKE.sha, "claiming": CLAIM.sha, "noting": MARK.sha, "answering": FINISH.sha}
STARTING = ("HGETALL", REREAD.sha, CLAIM.sha, "TRACKING")


class LostConnectionTests(ServedTestCase):
    """
    core0 reaches the server through a proxy.
    """

    proxy: ClassVar[Proxy]

    @classmethod
    def make_daemon(cls) -> ServedDaemon:
        """
        One that uses the proxy.
        """
        cls.proxy = Proxy(cls.valkey.folder / "proxy.sock", cls.valkey.socket)
        return ServedDaemon(cls.valkey, url=cls.proxy.url)

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End all three.
        """
        try:
            super().tearDownClass()
        finally:
            cls.proxy.close()

    def tearDown(self) -> None:
        """
        Leave nothing for the next test.
        """
        self.daemon.forget()

    def push(self, prefix: str, count: int, file: Path) -> list[str]:
        """
        Push commands of all kinds, in one step; those that run leave a line in the file.
        """
        payloads = []
        for number in range(count):
            id = f"{prefix}-{number}"
            command = {"id": id, "command": "core.system", "arguments": sh(f"echo {id} >> '{file}'")}
            if number % 5 == 0:
                command |= {"command": "core.ping", "arguments": {}}
            elif number % 5 == 1:
                command |= {"queue": "q"}
            payloads.append(json.dumps(command))
        self.daemon.push_raw(*payloads)
        return [f"{prefix}-{number}" for number in range(count)]

    def assert_once(self, ids: list[str], file: Path) -> None:
        """
        Each has run once, and has one result.
        """
        self.daemon.settle()
        results = exactly_one(self.daemon.results(), ids)
        for id, result in results.items():
            self.assertEqual(("SUCCESS", 1), (result["state"], result["runs"]), f"{id}: {result}")
        ran = [id for id in ids if results[id]["command"] == "core.system"]
        self.assertEqual(sorted(ran), sorted(lines(file)))
        self.assertEqual([], self.daemon.rejected())

    def test_at_each_step(self) -> None:
        """
        Whether the reply is lost, or already the request, nothing is lost and nothing runs twice.
        """
        for name, pattern in MOMENTS.items():
            for carried_out in (False, True):
                prefix = f"{name}-{carried_out}"
                file = self.folder() / "written"
                cut = self.proxy.cut(pattern.encode(), carried_out=carried_out)
                ids = self.push(prefix, 20, file)
                self.assertTrue(cut.done.wait(GENEROUS), prefix)
                self.assert_once(ids, file)

    def test_several_times(self) -> None:
        """
        The same when it happens several times in a row.
        """
        for name, pattern in MOMENTS.items():
            file = self.folder() / "written"
            cut = self.proxy.cut(pattern.encode(), carried_out=True, times=3)
            ids = self.push(f"again-{name}", 300, file)
            self.assertTrue(cut.done.wait(GENEROUS), name)
            self.assert_once(ids, file)

    def test_rejected(self) -> None:
        """
        What is rejected while the connection is lost is rejected once.
        """
        for pattern in (FINISH.sha, TAKE.sha):
            for carried_out in (False, True):
                cut = self.proxy.cut(pattern.encode(), carried_out=carried_out)
                self.daemon.push_raw(*(f"broken {number}" for number in range(10)))
                self.assertTrue(cut.done.wait(GENEROUS))
                self.daemon.settle()
                self.assertEqual(
                    [f"broken {n}" for n in range(9, -1, -1)], [e["payload"] for e in self.daemon.rejected()]
                )
                self.daemon.forget()

    def test_duplicates(self) -> None:
        """
        A command of other content under the same id is rejected once, whatever is lost meanwhile.
        """
        for number, (pattern, carried_out) in enumerate((s, c) for s in MOMENTS.values() for c in (False, True)):
            file = self.folder() / "written"
            cut = self.proxy.cut(pattern.encode(), carried_out=carried_out)
            ids = [f"twice-{number}", f"ping-{number}"]
            first = {"id": ids[0], "command": "core.system", "arguments": sh(f"echo ran >> '{file}'")}
            ping = {"id": ids[1], "command": "core.ping"}
            contents = (first, {**first, "tags": "other"}, first, ping, ping, {**ping, "tags": "other"})
            self.daemon.push_raw(*map(json.dumps, contents))
            self.assertTrue(cut.done.wait(GENEROUS))
            self.daemon.settle()
            exactly_one(self.daemon.results(), ids)
            self.assertEqual(["ran"], lines(file))
            self.assertEqual(ids, sorted((entry["id"] for entry in self.daemon.rejected()), reverse=True))
            self.daemon.forget()

    def test_at_the_start(self) -> None:
        """
        Lost while core0 starts and looks at what one before it has left, nothing is lost or doubled either.
        """
        for number, pattern in enumerate(STARTING):
            file, gate = self.folder() / "written", self.gate()
            ids = [f"start-{number}-{place}" for place in range(10)]
            script = sh(f"echo ran >> '{file}'; {gate.wait}")
            self.daemon.push_raw(
                *(json.dumps({"id": id, "command": "core.system", "arguments": script, "max_restart": 1}) for id in ids)
            )
            eventually(lambda file=file: len(lines(file)) == 10, "all run")
            self.daemon.crash()
            cut = self.proxy.cut(pattern.encode(), carried_out=True)
            self.daemon.start()
            self.assertTrue(cut.done.wait(GENEROUS), pattern)
            gate.open(20)
            self.daemon.settle()
            results = exactly_one(self.daemon.results(), ids)
            self.assertEqual({("SUCCESS", 2)}, {(result["state"], result["runs"]) for result in results.values()})
            self.assertEqual(20, len(lines(file)))

    def test_running_meanwhile(self) -> None:
        """
        Jobs go on while there is no connection, and their results arrive afterwards.
        """
        file, gate = self.folder() / "written", self.gate()
        ids = [self.daemon.push("core.system", sh(f"echo ran >> '{file}'; {gate.wait}; echo end")) for _ in range(10)]
        eventually(lambda: len(lines(file)) == 10, "all run")
        self.proxy.cut_all()
        gate.open(10)
        self.daemon.settle()
        results = exactly_one(self.daemon.results(), ids)
        self.assertEqual(
            {("SUCCESS", "end\n")}, {(result["state"], result["streams"][0]) for result in results.values()}
        )

    def test_recurring(self) -> None:
        """
        A result of something that recurs is written again until it is there.
        """
        for carried_out in (False, True):
            id = self.daemon.push("core.system", {"name": "true"}, recurring_period=0.05)
            cut = self.proxy.cut(FINISH.sha.encode(), carried_out=carried_out, times=3)
            self.assertTrue(cut.done.wait(GENEROUS))
            first = self.daemon.result(id)["starttime"]
            eventually(lambda id=id, first=first: self.daemon.result(id)["starttime"] > first, "it recurs")
            self.assertEqual("true", self.daemon.run_command("core.kill", {"id": id})["data"])
            self.daemon.settle()
            exactly_one(self.daemon.results(), [id])

    def test_again_and_again(self) -> None:
        """
        Connections that are cut all the time lose nothing and double nothing.
        """
        file = self.folder() / "written"
        ids: list[str] = []
        ended, chosen = threading.Event(), chance(self.id())

        def cutting() -> None:
            while not ended.is_set():
                # on a machine that is busy, too, something gets through in between
                enough = self.proxy.passed + chosen.randrange(5, 200)
                while self.proxy.passed < enough and not ended.wait(0.005):
                    pass
                if chosen.random() < 0.5:
                    self.proxy.cut_all()
                else:
                    self.proxy.cut(chosen.choice(SCRIPTS).sha.encode(), carried_out=chosen.random() < 0.7)

        thread = threading.Thread(target=cutting)
        thread.start()
        try:
            for number in range(10):
                ids += self.push(f"cut-{number}", 30, file)
                self.daemon.result(ids[-1])
        finally:
            ended.set()
            thread.join()
        self.assert_once(ids, file)
