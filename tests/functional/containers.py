"""
What tests of the life of containers have in common: a root file system made of busybox, commands for containers, and a
look at whatever a container may leave behind.
"""

import atexit
import io
import json
import os
import re
import shutil
import signal
import tarfile
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any, ClassVar

import redis

from core0.containers import groups
from core0.containers.kernel import PR_SET_CHILD_SUBREAPER, prctl
from core0.containers.probe import missing as lacking
from core0.containers.runtime import find
from core0.identity import FILE
from core0.images.build import build
from core0.redis.server_settings import find_program
from tests.daemon import Daemon, eventually
from tests.functional.shared import DaemonTestCase, answer_of, lives, missing, need_root, sh

BUSYBOX = "/bin/busybox"
OBSERVER = "observer"  # a user of the server that may see everything
# the server that core0 starts by itself, with one more user
SERVER = f"""#!/bin/sh
cp "$1" "$1.observed" && echo 'user {OBSERVER} on nopass ~* &* +@all' >> "$1.observed" && exec {{}} "$1.observed"
"""
# no kill_grace of seconds for what is told to end, but enough for what does so
QUICK = "[jobs]\nkill_grace = 1.0\n"
OWN_NAMES = ("corex", "core0-init", "core0-zygote")  # of processes that only core0 starts
PATIENT_LOOKS = 10
OWNED = 1234  # user and group of /data/owned in the image
PASSWD = "root:x:0:0:root:/root:/bin/sh\nsomebody:x:1234:1234::/home:/bin/sh\n"
APPLETS = """
    [ ash base64 basename cat chgrp chmod chown cp cut date dd df dirname dmesg du echo egrep env expr false find free
    grep head hostname httpd id ifconfig ip kill killall link ln ls md5sum mkdir mkfifo mknod mktemp mount mv nc nice
    nohup nproc nslookup pgrep pidof ping printenv printf ps pwd readlink realpath rm rmdir sed seq setsid sh sha256sum
    sleep sort stat stty su sync tail tar tee telnet test time timeout top touch tr true truncate tty umount uname uniq
    unlink uptime usleep vi wc wget which whoami xargs yes
    """


def need_containers(*runtimes: str) -> None:
    """
    Skip where there can be no containers.

    :param runtimes: OCI runtimes that have to be there.
    """
    need_root()
    lacks = lacking()
    if lacks:
        raise missing(f"needs {lacks}")
    for runtime in runtimes:
        if find(runtime) is None:
            raise missing(f"needs {runtime}")
    if not os.path.exists(BUSYBOX):
        raise missing("needs busybox-static")


class Image:
    """
    A root file system with busybox and little else.

    :ivar folder: as a directory.
    :ivar plist: the path of its plist; the contents are in ``store`` beside it.
    :ivar tar: the path of the same as an archive.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tree"
        self.plist = str(folder / "image.plist")
        self.store = folder / "store"
        self.tar = str(folder / "image.tar")
        _fill(self.folder)
        build(str(self.folder), str(self.store), self.plist, lambda files, size: None)
        with tarfile.open(self.tar, "w") as archive:
            archive.add(self.folder, ".")

    def variant(self, folder: Path, files: Mapping[str, bytes]) -> str:
        """
        The path of an archive of the same image with more files.

        :param folder: where it is made.
        :param files: contents by path, relative to the root.
        """
        path = folder / f"{uuid.uuid4().hex}.tar"
        shutil.copy(self.tar, path)
        with tarfile.open(path, "a") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755
                archive.addfile(entry, io.BytesIO(content))
        return str(path)


def _fill(tree: Path) -> None:
    for name in ("bin", "etc", "root", "data", "home"):
        (tree / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin" / "busybox")
    for name in APPLETS.split():
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc" / "passwd").write_text(PASSWD)
    (tree / "etc" / "group").write_text("root:x:0:\nsomebody:x:1234:\n")
    (tree / "data" / "owned").write_text("of somebody\n")
    (tree / "data" / "ours").write_text("of root\n")
    os.chown(tree / "data" / "owned", OWNED, OWNED)


@cache
def image() -> Image:
    """
    The image of this process of tests; gone at its end.
    """
    folder = tempfile.mkdtemp(prefix="core0-image-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Image(Path(folder))


class Traces:
    """
    What there is of the containers of one core0 on this machine.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._links = set(os.listdir("/sys/class/net"))

    @property
    def _family(self) -> str:
        """
        The name that its cgroups of containers are below; nothing is called by that of a core0 that has never started.
        """
        text = _text(self._daemon.state / FILE)
        return str(json.loads(text)["containers"]) if text else "core0-containers-none"

    def processes(self) -> list[int]:
        """
        Those of containers, and those that make them; the zygote is none of them.
        """
        own = self._daemon.process.pid if self._daemon.process is not None else 0
        # what has ended may wait for whoever reaps on this machine, but nothing may wait for core0
        found = {int(name) for name in os.listdir("/proc") if name.isdigit() and self._is_ours(name) and lives(name)}
        return sorted(
            found | {pid for pid in descendants(own) if name_of(pid) in ("corex", "core0-init", "crun", "runc")}
        )

    def _is_ours(self, pid: str) -> bool:
        return f"/{self._family}/" in _text(Path(f"/proc/{pid}/cgroup"))

    def cgroups(self) -> list[str]:
        """
        The cgroups of all containers, one folder for each and hierarchy.
        """
        tops = [top for top in groups.mounted(f"/{self._family}") if os.path.isdir(top)]
        return sorted(tops + [path.rstrip("/") for top in tops for path in glob(f"{top}/*/")])

    def mounts(self) -> list[str]:
        """
        Lines of the host's table of mounts.
        """
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if str(self._daemon.folder) in line or re.search(r" - \S+ core0 ", line)]

    def folders(self) -> list[str]:
        """
        What is kept of containers in folders.
        """
        state, run = self._daemon.state / "containers", self._daemon.run / "containers"
        found = [path for path in glob(f"{state}/*") if os.path.basename(path) != "last"]
        return [*found, *glob(f"{run}/*/*")]

    def redis(self) -> list[str]:
        """
        Users and keys of containers.
        """
        found: list[str] = []
        for client in (observer(self._daemon), observer(self._daemon, inner=True)):
            with client:
                if os.path.exists(client.get_connection_kwargs()["path"]):
                    users = client.execute_command("ACL", "USERS")
                    found += [name.decode() for name in users if name.startswith(b"corex-")]
                    patterns = ("core:default:core-*", "corex:results:*", "core0:corex:*", "core0:dispatched:*")
                    found += [key.decode() for pattern in patterns for key in client.scan_iter(pattern, 10_000)]
        return sorted(found)

    def links(self) -> list[str]:
        """
        Network links that were not there at first.
        """
        return sorted(set(os.listdir("/sys/class/net")) - self._links)

    def left(self, *, redis: bool = True) -> dict[str, list[Any]]:
        """
        All of it, by its kind; empty if there is nothing.
        """
        looks = (self.processes, self.cgroups, self.mounts, self.folders, self.links, *([self.redis] if redis else ()))
        return {look.__name__: found for look in looks if (found := look())}

    def clear(self) -> None:
        """
        End what tests that failed have left.
        """
        for _ in range(500):
            if groups.kill(f"/{self._family}") and groups.remove(f"/{self._family}"):
                break


def observed_server(daemon: Daemon) -> Path:
    """
    A program that core0 can start as its server, with the observer.
    """
    path = daemon.folder / "server"
    path.write_text(SERVER.format(find_program("")))
    path.chmod(0o755)
    return path


def inner_socket(daemon: Daemon) -> str:
    """
    Where the server is that CoreX speak to.
    """
    return str(daemon.run / "corex" / "sock" / "redis.sock")


def observer(daemon: Daemon, *, inner: bool = False) -> redis.Redis:
    """
    A client that may do everything, at the clients' server or at the one that CoreX speak to.
    """
    path = {"unix_socket_path": inner_socket(daemon)} if inner else {}
    return daemon.redis(username=OBSERVER, password="-", **path)


def descendants(pid: int) -> Iterator[int]:
    """
    The children of a process, theirs, and so on.
    """
    for word in _text(Path(f"/proc/{pid}/task/{pid}/children")).split():
        yield int(word)
        yield from descendants(int(word))


def zygotes(daemon: Daemon) -> list[int]:
    """
    The processes that containers of a core0 are forked from.
    """
    return [pid for pid in descendants(daemon.pid) if name_of(pid) == "core0-zygote"]


def name_of(pid: int) -> str:
    """
    Of a process; empty if it is gone.
    """
    return _text(Path(f"/proc/{pid}/comm")).strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # somebody else has


class FirstProcess:
    """
    Reaps what a core0 that was killed leaves behind, as the first process of a machine does: where tests run, that may
    do so late, and a container has not ended before.

    :param spared: a process whose end somebody else waits for.
    """

    def __init__(self, spared: Callable[[], int]) -> None:
        self._spared = spared
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._reap, daemon=True)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._thread.start()

    def _reap(self) -> None:
        looks: dict[int, int] = {}
        while not self._stopped.wait(0.01):
            pids = map(int, _text(Path(f"/proc/self/task/{os.getpid()}/children")).split())
            looks = {pid: looks.get(pid, 0) + 1 for pid in pids if pid != self._spared() and not lives(pid)}
            for pid, count in looks.items():
                # what the tests themselves have started they wait for at once
                if count > PATIENT_LOOKS or name_of(pid) in OWN_NAMES:
                    _reap(pid)

    def close(self) -> None:
        """
        It is needed no more.
        """
        self._stopped.set()
        self._thread.join()
        prctl(PR_SET_CHILD_SUBREAPER, 0)


class ContainerTestCase(DaemonTestCase):
    """
    Tests that share one core0 with containers. At the end of each nothing may be left of any container.

    :cvar kind: of core0.
    :cvar runtime: what makes them; empty for what core0 finds.
    """

    config = QUICK
    kind: ClassVar[type[Daemon]] = Daemon
    runtime: ClassVar[str] = ""
    traces: ClassVar[Traces]

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        With the runtime.
        """
        need_containers(*([cls.runtime] if cls.runtime else ()))
        daemon = cls.kind()
        runtime = f'\n[containers]\nruntime = "{cls.runtime}"\n' if cls.runtime else ""
        daemon.write_config(f'{cls.config}\n[redis]\nserver = "{observed_server(daemon)}"\n{runtime}')
        cls.traces = Traces(daemon)
        return daemon

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it, and whatever it has left.
        """
        cls.traces.clear()
        super().tearDownClass()

    def setUp(self) -> None:
        """
        Whatever happens, what is made goes.
        """
        self.addCleanup(self.end)

    def end(self) -> None:
        """
        Terminate all containers; nothing may be left.
        """
        for number in self.listed():
            self.terminate(int(number))
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """
        Nothing tells that there has ever been a container.
        """
        left = self.traces.left()
        # written together with the last results of a container, soon after it is gone
        answered = ["core0:dispatched:1:1"]
        if left == {"redis": answered}:
            eventually(lambda: not self.traces.left(), "its commands are answered")
        else:
            self.assertEqual({}, left)

    def create(self, **arguments: Any) -> int:
        """
        Make a container of the image; gives its number.
        """
        result = self.daemon.run_command("corex.create", {"plist": image().plist, **arguments})
        self.assertEqual("SUCCESS", result["state"], result)
        number = answer_of(result)
        assert isinstance(number, int)
        return number

    def refused_create(self, code: int, *about: str, **arguments: Any) -> None:
        """
        Have a container refused, for reasons that name these.
        """
        result = self.daemon.run_command("corex.create", {"plist": image().plist, **arguments})
        for word in about:
            self.assert_refused(code, word, result)

    def terminate(self, number: int) -> None:
        """
        End a container.
        """
        self.assert_success(self.daemon.run_command("corex.terminate", {"container": number}), "true")

    def listed(self) -> dict[str, dict[str, Any]]:
        """
        The answer of ``corex.list``.
        """
        found: dict[str, dict[str, Any]] = answer_of(self.daemon.run_command("corex.list"))
        return found

    def dispatch(self, number: int, command: str, arguments: Any = None, **fields: Any) -> str:
        """
        Have a container run a command; gives the id that it runs under.
        """
        inner = {"id": str(uuid.uuid4()), "command": command, "arguments": arguments or {}, **fields}
        result = self.daemon.run_command("corex.dispatch", {"container": number, "command": inner})
        self.assert_success(result, json.dumps(inner["id"]))
        return str(inner["id"])

    def inside(self, number: int, command: str, arguments: Any = None, **fields: Any) -> dict[str, Any]:
        """
        The result of a command in a container.
        """
        result = self.daemon.result(self.dispatch(number, command, arguments, **fields))
        self.assertEqual(number, result["container"], result)
        return result

    def inside_sh(self, number: int, script: str, **fields: Any) -> str:
        """
        What a script prints in a container; it has to succeed.
        """
        result = self.inside(number, "core.system", sh(script), **fields)
        self.assertEqual(("SUCCESS", ""), (result["state"], result["streams"][1]), result)
        return str(result["streams"][0])

    def running_inside(self, number: int, script: str, **fields: Any) -> str:
        """
        Have a script run in a container; gives its id once it has made the file ``/tmp/<id>``, named by ``$ready``.
        """
        id = str(uuid.uuid4())
        arguments = sh(script)
        arguments["env"] = {"ready": f"/tmp/{id}"}
        self.dispatch(number, "core.system", arguments, id=id, **fields)
        init = self.listed()[str(number)]["pid"]
        eventually(Path(f"/proc/{init}/root/tmp/{id}").exists, "the script is ready")
        return id

    def corex_of(self, number: int) -> int:
        """
        The pid of the CoreX of a container.
        """
        record = json.loads((self.daemon.state / "containers" / str(number) / "container.json").read_text())
        return int(record["corex"]["pid"])

    def assert_gone(self, result: dict[str, Any], *about: str) -> None:
        """
        A command whose container has ended before it was answered.
        """
        for word in about:
            self.assert_refused(503, word, result)


def kill(pid: int) -> None:
    """
    Kill a process of a container, from the host.
    """
    os.kill(pid, signal.SIGKILL)
