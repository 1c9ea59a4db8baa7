"""
Containers that cannot be made: whatever step fails, the client is told which, and nothing is left.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from core0.containers.runtime import find
from tests.daemon import Daemon, eventually
from tests.functional.containers import (
    ContainerTestCase,
    descendants,
    image,
    kill,
    name_of,
    need_containers,
    observer,
    zygotes,
)
from tests.functional.shared import answer_of, descriptors, lives, missing
from tests.web import Page, Web

# stands for a runtime; only what is to live is hindered
SCRIPT = """#!/bin/sh
case " $* " in *" --detach "*) ;; *) exec {real} "$@";; esac
mode=$(cat {folder}/mode)
touch {folder}/called
for word; do [ "$last" = --pid-file ] && file=$word; last=$word; done
case $mode in
    failing) echo 'out of order' >&2; exit 7;;
    killed) kill -9 $$;;
    late) {real} "$@"; echo 'too late' >&2; exit 3;;
    silent) {real} "$@"; rm "$file"; exit 0;;
    garbled) {real} "$@"; echo nonsense > "$file"; exit 0;;
    absent) echo 2000000000 > "$file"; exit 0;;
    waiting) while [ -e {folder}/called ]; do sleep 0.02; done;;
esac
exec {real} "$@"
"""
SLOW = 5.0  # seconds that a page takes which nobody waits for


class FailingTestCase(ContainerTestCase):
    """
    Tests with a runtime that does as it is told.
    """

    hinder: ClassVar[Path]

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        With that runtime.
        """
        need_containers("crun")
        daemon = super().make_daemon()
        cls.hinder = daemon.folder / "hinder"
        cls.hinder.mkdir()
        program = cls.hinder / "crun"
        program.write_text(SCRIPT.format(real=find("crun"), folder=cls.hinder))
        program.chmod(0o755)
        with open(daemon.config, "a") as file:
            file.write(f'[containers]\nruntime = "{program}"\n')
        return daemon

    def setUp(self) -> None:
        """
        A runtime that works, and a container once, so that all that is kept is there.
        """
        super().setUp()
        self.told("")
        if not zygotes(self.daemon):
            self.terminate(self.create())
        self.fds = descriptors(self.daemon.pid)

    def end(self) -> None:
        """
        Afterwards containers can be made as before, and no descriptor is left open.
        """
        super().end()
        self.told("")
        self.terminate(self.create())
        self.assert_nothing_left()
        eventually(lambda: descriptors(self.daemon.pid) <= self.fds + 2, "descriptors are closed")

    def told(self, mode: str) -> None:
        """
        How the runtime shall fail.
        """
        (self.hinder / "called").unlink(missing_ok=True)
        (self.hinder / "mode").write_text(mode)

    def last_number(self) -> int:
        """
        The highest number that was given.
        """
        return int((self.daemon.state / "containers" / "last").read_text())

    def mute(self) -> None:
        """
        Have the CoreX of a waiting runtime's container never answer: it cannot log in.
        """
        with observer(self.daemon, inner=True) as client:
            client.execute_command("ACL", "DELUSER", f"corex-{self.last_number()}")

    def go_on(self) -> None:
        """
        Let a waiting runtime do its work.
        """
        self.told("")

    def halted(self, **fields: Any) -> str:
        """
        Have a container made, up to the runtime, which waits.
        """
        self.told("waiting")
        id = self.daemon.push("corex.create", {"plist": image().plist}, **fields)
        eventually((self.hinder / "called").exists, "the runtime is called")
        return id

    def guests(self) -> list[int]:
        """
        The processes that are going to be a CoreX.
        """
        return [pid for zygote in zygotes(self.daemon) for pid in descendants(zygote)]

    def web(self) -> Web:
        """
        A server of files.
        """
        web = Web()
        self.addCleanup(web.close)
        return web


class StepsTests(FailingTestCase):
    """
    Each step of a creation fails in turn.
    """

    def test_image(self) -> None:
        """
        A plist that is not there, is none, or names contents that are not there is refused; the plist is named.
        """
        web = self.web()
        folder = self.folder()
        garbage, alone = folder / "garbage.plist", folder / "alone.plist"
        nowhere = f"/x|{'0' * 64}|5|0|0|0644|2|1|1|\n"
        garbage.write_text("no plist at all\n")
        alone.write_text(nowhere)
        empty = folder / "empty.tar"
        empty.write_bytes(b"nothing")
        web.pages["/alone.plist"] = nowhere.encode()
        urls = ("/no/such.plist", web.url("/alone.plist"), web.url("/none.plist"), str(garbage), str(alone), str(empty))
        for url in urls:
            result = self.daemon.run_command("corex.create", {"plist": url})
            self.assertIn(result["code"], (400, 404, 503), result)
            self.assert_refused(result["code"], "arguments.plist", result)
            self.assert_nothing_left()

    def test_unusable_image(self) -> None:
        """
        An image in which the kernel's file systems or core0's files cannot be mounted is refused, and says why.
        """
        folder = self.folder()
        for name in ("proc", "dev", "sys"):
            url = image().variant(folder, {name: b"a file"})
            self.refused_create(400, f"/{name} of the image is no folder", plist=url)
            self.assert_nothing_left()
        words = "'/tmp' of the image is a file; expected a folder"
        self.refused_create(400, words, plist=image().variant(folder, {"tmp": b"a file"}))
        self.assert_nothing_left()
        words = "arguments.mount: '/etc/passwd' of the image is a file; expected a folder"
        self.refused_create(400, words, mount={str(folder): "/etc/passwd/below"})

    def test_runtime(self) -> None:
        """
        A runtime that fails, is killed, or does not tell what it started makes the creation fail, with its own words.
        """
        modes = {
            "failing": "crun run failed with status 7: out of order",
            "killed": "crun run failed with status 137",
            "late": "too late",
            "silent": "does not tell the pid",
            "garbled": "does not tell the pid",
            "absent": "cannot start container",
        }
        for mode, text in modes.items():
            self.told(mode)
            self.refused_create(503, text)
            self.assert_nothing_left()
            self.assertEqual([], self.guests())

    def test_folder(self) -> None:
        """
        Where a container's folder cannot be made the creation fails and says so.
        """
        place = self.daemon.state / "containers"
        aside = place.with_name("aside")
        place.rename(aside)
        place.write_text("in the way")
        try:
            self.refused_create(503, "containers")
        finally:
            place.unlink()
            aside.rename(place)
        self.assert_nothing_left()

    def test_records_of_runtime(self) -> None:
        """
        Where the runtime cannot keep its records the creation fails, with its own words.
        """
        place = self.daemon.run / "containers"
        shutil.rmtree(place)
        place.write_text("in the way")
        self.addCleanup(place.unlink, missing_ok=True)
        result = self.daemon.run_command("corex.create", {"plist": image().plist})
        place.unlink()
        self.assert_refused(503, "cannot start container", result)
        self.assert_nothing_left()


class LeftTests(ContainerTestCase):
    """
    What cannot be removed.
    """

    def test_left(self) -> None:
        """
        corex.terminate says what it could not remove, and that is removed when core0 is started again.
        """
        number = self.create()
        self.inside_sh(number, "echo stays > /data/stuck")
        place = self.daemon.state / "containers" / str(number)
        change(place / "upper" / "data" / "stuck", "+i")
        try:
            result = self.daemon.run_command("corex.terminate", {"container": number})
        finally:
            for path in place.rglob("stuck"):
                change(path, "-i")
        self.assert_refused(500, "its folder (", result)
        self.assertEqual({}, self.listed())
        self.assertEqual({"folders"}, set(self.traces.left()))
        self.daemon.stop()
        self.daemon.start()
        eventually(lambda: not self.traces.left(), "it is removed")


def change(path: Path, attribute: str) -> None:
    """
    Let a file be changed and removed, or not, with ``chattr``.
    """
    done = subprocess.run(["chattr", attribute, path], check=False, capture_output=True)
    if done.returncode:
        raise missing(f"needs a file system with attributes: {done.stderr.decode(errors='replace')}")


class StoppedTests(FailingTestCase):
    """
    A creation that is stopped on its way.
    """

    def test_killed(self) -> None:
        """
        A corex.create that is killed while the runtime works is KILLED, and nothing of it is left.
        """
        id = self.halted()
        self.assertEqual("KILLED", self.kill(id)["state"])
        self.assert_undone()

    def test_timeout(self) -> None:
        """
        A corex.create that takes longer than its max_time ends as TIMEOUT, and nothing of it is left.
        """
        self.assertEqual("TIMEOUT", self.daemon.result(self.halted(max_time=1))["state"])
        self.assert_undone()

    def assert_undone(self) -> None:
        """
        Nothing is left of what was stopped.
        """
        self.assertEqual({}, self.listed())
        self.assert_nothing_left()
        eventually(lambda: not self.guests(), "its guest has ended")

    def test_while_loading(self) -> None:
        """
        A corex.create that is killed while its plist or its contents are loaded, or takes too long for that, leaves
        nothing.
        """
        web = self.web()
        hash = "0" * 64
        web.pages["/slow.plist"] = web.pages[f"/store/{hash}"] = Page(b"", wait=SLOW)
        web.pages["/quick.plist"] = f"/x|{hash}|5|0|0|0644|2|1|1|\n".encode()
        for path, awaited in (("/slow.plist", "/slow.plist"), ("/quick.plist", f"/store/{hash}")):
            id = self.daemon.push("corex.create", {"plist": web.url(path)})
            eventually(lambda awaited=awaited: web.asked[awaited], f"{awaited} is asked for")
            self.assert_busy(self.last_number())
            self.assertEqual("KILLED", self.kill(id)["state"])
            self.assert_undone()
        id = self.daemon.push("corex.create", {"plist": web.url("/slow.plist")}, max_time=1)
        self.assertEqual("TIMEOUT", self.daemon.result(id)["state"])
        self.assert_undone()

    def assert_busy(self, number: int) -> None:
        """
        A container that is being created takes no commands, cannot be terminated, and is not listed.
        """
        self.assertEqual({}, self.listed())
        for name, more in (("corex.dispatch", {"command": {"command": "core.ping"}}), ("corex.terminate", {})):
            result = self.daemon.run_command(name, {"container": number, **more})
            self.assert_refused(409, "being created", result)

    def test_while_answering(self) -> None:
        """
        A container whose CoreX cannot log in never answers; the creation ends with its max_time and leaves nothing.
        """
        id = self.halted(max_time=2)
        self.mute()
        self.go_on()
        self.assertEqual("TIMEOUT", self.daemon.result(id)["state"])
        self.assert_undone()


class ProcessesTests(FailingTestCase):
    """
    Processes that take part in a creation die.
    """

    def test_zygote_before(self) -> None:
        """
        A zygote that has been killed is started again by the next creation.
        """
        number = self.create()
        (old,) = zygotes(self.daemon)
        kill(old)
        eventually(lambda: not lives(old), "it has ended")
        other = self.create()
        self.assertNotEqual([old], zygotes(self.daemon))
        for each in (number, other):
            self.assertEqual("pong", answer_of(self.inside(each, "core.ping")))

    def test_zygote_meanwhile(self) -> None:
        """
        A zygote that is killed in the middle of a creation hinders neither that nor the next one.
        """
        first = self.halted()
        (old,) = zygotes(self.daemon)
        kill(old)
        second = self.daemon.push("corex.create", {"plist": image().plist})
        eventually(lambda: zygotes(self.daemon) not in ([], [old]), "there is another one")
        self.go_on()
        for id in (first, second):
            number = answer_of(self.daemon.result(id))
            self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))

    def test_guest(self) -> None:
        """
        A guest that is killed in the middle of a creation makes it fail at once.
        """
        id = self.halted()
        for pid in self.guests():
            kill(pid)
        self.go_on()
        result = self.daemon.result(id)
        self.assert_refused(503, "cannot start container", result)
        self.assertNotIn("within", answer_of(result))
        self.assert_nothing_left()

    def test_init(self) -> None:
        """
        A container whose first process dies before its CoreX has answered is not created.
        """
        id = self.halted()
        self.mute()
        self.go_on()
        (first,) = eventually(self.first_processes, "its first process is there")
        kill(first)
        result = self.daemon.result(id)
        self.assert_refused(503, "cannot start container", result)
        self.assert_nothing_left()

    def first_processes(self) -> list[int]:
        """
        Of containers.
        """
        return [pid for pid in self.traces.processes() if name_of(pid) == "core0-init"]

    def test_server(self) -> None:
        """
        A server that is killed in the middle of a creation does not hinder it.
        """
        id = self.halted()
        kill(json.loads((self.daemon.run / "redis" / "server.json").read_text())["pid"])
        self.go_on()
        eventually(lambda: self._answers(), "the server is there again")
        number = answer_of(self.daemon.result(id))
        self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))

    def _answers(self) -> bool:
        try:
            with self.daemon.redis() as client:
                return bool(client.ping())
        except Exception:
            return False
