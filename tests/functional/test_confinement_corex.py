"""
The CoreX of a container, and what it was forked from, against whoever is in there.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from errno import EROFS
from pathlib import Path
from typing import Any, ClassVar

from core0.containers.probe import find_init
from core0.containers.runtime import find
from tests.daemon import eventually
from tests.functional.containers import descendants, zygotes
from tests.functional.shared import answer_of, lives, missing, sh
from tests.functional.test_confinement_shared import REFUSED, ConfinementCase, compiled

PIECE = 1 << 20  # bytes read of a memory at once
DIGITS = bytes(b"x"[0] if letter in b"0123456789abcdef" else 0 for letter in range(256))
SECRET = re.compile(rb"x{64,}")  # of a piece translated by DIGITS: a literal is looked for ten times as fast
FOUND = "/found"  # where libraries of the image leave a mark when they are loaded

# A dynamic loader of the image: what runs when a program of the host is started in there. It keeps that program open,
# and goes on to another one, so that nobody executes it any more.
LOADER = r"""
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
void begin(void) {
    char *words[] = {"keeper", "try", 0}, *none[] = {0};
    syscall(SYS_openat, AT_FDCWD, "/proc/self/exe", O_RDONLY, 0);
    syscall(SYS_execve, "/bin/keeper", words, none);
    syscall(SYS_exit_group, 9);
}
"""
KEEPER = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    char path[64], target[256] = "";
    for (int fd = 3; fd < 10; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) < 0) continue;
        int again = open(path, O_WRONLY);
        printf("%s %d\n", target, again < 0 ? errno : 0);
        if (again >= 0) continue;
        again = open(path, O_WRONLY | O_TRUNC);
        printf("%s %d\n", target, again < 0 ? errno : 0);
    }
    return 0;
}
"""
# a library that says that it was loaded
LIBRARY = r"""
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) { close(creat("/found/library", 0666)); }
int _nss_evil_getpwuid_r(void) { return 0; }
int gconv(void) { return 0; }
int gconv_init(void) { return 0; }
"""
MODULE = b"open('/found/module', 'w')\n"


def hostile() -> dict[str, bytes]:
    """
    Files of an image that whoever loads code from there would load, where the host has its own.
    """
    library = compiled("gcc", LIBRARY, "-shared", "-fPIC")
    folder = "usr/lib/x86_64-linux-gnu"
    libraries = [
        *("libnss_evil.so.2", "libnss_files.so.2", "libnss_dns.so.2", "libnss_systemd.so.2", "libgcc_s.so.1"),
        *("libc.so.6", "libffi.so.8", "libseccomp.so.2", "gconv/UTF-7.so", "gconv/ISO8859-1.so"),
    ]
    packages = [Path(path).relative_to("/") for path in sys.path if path.endswith(("-packages", "python3.11"))]
    modules = ("sitecustomize", "encodings/idna", "encodings/utf_7", "twisted/new", "core0/new", "pwd")
    files = {f"{folder}/{name}": library for name in libraries}
    files |= {f"{place}/{name}.py": MODULE for place in packages for name in modules}
    return {
        **files,
        "etc/ld.so.preload": f"/{folder}/libnss_evil.so.2\n".encode(),
        "etc/nsswitch.conf": b"passwd: evil\ngroup: evil\nhosts: evil\nservices: evil\n",
        "etc/localtime": b"TZif2" + b"\xff" * 4096,
        f"{folder}/gconv/gconv-modules": b"module UTF-7// INTERNAL UTF-7 1\nmodule INTERNAL UTF-7// UTF-7 1\n",
        "etc/resolv.conf": b"nameserver 127.0.0.1\n",
    }


def memory(pid: int) -> Iterator[bytes]:
    """
    What a process has in memory that it can write to, in pieces that overlap.
    """
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            start, end = (int(word, 16) for word in place.split("-"))
            for position in range(start, end if rights.startswith("rw") else start, PIECE):
                file.seek(position)
                try:
                    yield file.read(min(PIECE + 64, end - position))
                except OSError:
                    continue


def holds(pid: int, hashes: set[str]) -> set[str]:
    """
    Those of some passwords, known by their hashes, that a process has in memory.
    """
    words = set()
    for piece in memory(pid):
        for found in SECRET.finditer(piece.translate(DIGITS)):
            if len(found[0]) == 64:
                words.add(piece[found.start() : found.end()])
    return {hashlib.sha256(word).hexdigest() for word in words} & hashes


class CoreXTests(ConfinementCase):
    """
    A hostile root against its CoreX.
    """

    def test_unseen(self) -> None:
        """
        A CoreX can neither be looked into nor be traced from inside, whatever the rights of who tries; only its name
        is seen.
        """
        number = self.confined()
        inner = self.inner_corex(number)
        found = self.probed(number, "look", inner)
        self.assertGreater(len(found), 25)
        self.assert_all_refused(found)
        found = self.probed(number, "trace", inner)
        self.assertGreater(len(found), 20)
        self.assert_all_refused(found)
        self.assertEqual("corex", self.inside_sh(number, f"tr -d '\\0' < /proc/{inner}/cmdline"))
        self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))

    def test_killed(self) -> None:
        """
        Whoever kills the CoreX from inside ends their own container, and no other.
        """
        number, other = self.confined(), self.confined()
        id = self.dispatch(number, "core.system", sh(f"kill -9 {self.inner_corex(number)}; sleep 60"))
        self.assert_gone(self.daemon.result(id), f"container {number}", "its CoreX has ended")
        eventually(lambda: list(self.listed()) == [str(other)], "it is removed")
        self.assertEqual("pong", answer_of(self.inside(other, "core.ping")))

    def test_frozen(self) -> None:
        """
        A container whose CoreX is stopped from inside is removed like others, within the grace and five seconds.
        """
        number = self.confined()
        job = self.running_inside(number, f"touch $ready; /bin/probe stop {self.inner_corex(number)}; sleep 60")
        corex = self.corex_of(number)
        eventually(lambda: "\nState:\tT" in Path(f"/proc/{corex}/status").read_text(), "it is stopped")
        id = self.daemon.push("corex.terminate", {"container": number})
        self.assert_success(self.daemon.result(id, 8), "true")
        self.assert_gone(self.daemon.result(job), f"container {number}")


class ProgramsOfTheHostTests(ConfinementCase):
    """
    Programs of the host that run in a container, against an image with a loader for them.
    """

    @classmethod
    def setUpClass(cls) -> None:
        """
        An image with the loader of this host's Python.
        """
        loader = re.search(rb"\0/(lib[^\0]*/ld-[^\0]+)\0", Path(os.path.realpath(sys.executable)).read_bytes()[:4096])
        if loader is None:
            raise missing("needs a Python that is linked dynamically")
        options = ("-static", "-nostartfiles", "-Wl,-e,begin", "-Wl,-Ttext-segment=0x10000000")
        cls.files = {loader[1].decode(): compiled("gcc", LOADER, *options), "bin/keeper": compiled("gcc", KEEPER)}
        super().setUpClass()

    files: ClassVar[dict[str, bytes]] = {}

    def test_unchanged(self) -> None:
        """
        A program of the image that is a symlink to whoever starts it gets hold of the host's Python, but can write
        neither to it nor to the container's first program; Python, runtime and init of the host stay as they were.
        """
        programs = [os.path.realpath(sys.executable), find_init() or "", *filter(None, map(find, ("crun", "runc")))]
        before = [hashlib.sha256(Path(path).read_bytes()).digest() for path in programs]
        number = self.confined()
        self.inside_sh(number, "ln -s /proc/self/exe /bin/self; cp /bin/keeper /data")
        for name in ("/bin/self", "/proc/self/exe", "/proc/thread-self/exe"):
            result = self.inside(number, "core.system", {"name": name, "args": ["-c", "print(1)"]})
            said = [line.rpartition(" ") for line in result["streams"][0].splitlines()]
            self.assertIn(programs[0], [path for path, _, _ in said], result)
            self.assertEqual(set(), {int(error) for _, _, error in said} - REFUSED - {EROFS}, said)
        said_so = self.inside(number, "core.system", sh("echo x > /dev/core0-init || echo x > /proc/1/exe"))
        self.assertNotEqual(0, said_so["code"])
        self.assertEqual(before, [hashlib.sha256(Path(path).read_bytes()).digest() for path in programs])


class HostileImageTests(ConfinementCase):
    """
    An image full of libraries and modules for its CoreX.
    """

    @classmethod
    def setUpClass(cls) -> None:
        """
        The image.
        """
        cls.files = hostile()
        super().setUpClass()

    files: ClassVar[dict[str, bytes]] = {}

    def test_nothing_loaded(self) -> None:
        """
        Whatever a CoreX is asked for, to its end, it takes no code from its image: nothing in there is mapped, and
        none of its libraries and modules has run.
        """
        mark = self.folder()
        number = self.confined(mount={str(mark): FOUND}, env={"TZ": ":/etc/localtime", "LANG": "xx_YY.UTF-7"})
        corex = self.corex_of(number)
        for command, arguments in self.everything():
            self.daemon.result(self.dispatch(number, command, arguments, stats_interval=1, stream=True), 10)
        self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))
        self.assertEqual([], [line for line in Path(f"/proc/{corex}/maps").read_text().splitlines() if foreign(line)])
        job = self.running_inside(number, "trap '' TERM; touch $ready; while :; do sleep 1; done")
        program = next(descendants(corex))
        self.assertTrue(any(foreign(line) for line in Path(f"/proc/{program}/maps").read_text().splitlines()))
        self.terminate(number)
        self.daemon.result(job)
        self.assertEqual([], list(mark.iterdir()))
        self.assertNotIn("is imported too late", self.daemon.output())

    def everything(self) -> list[tuple[str, Any]]:
        """
        Commands that make a CoreX do whatever it can do.
        """
        infos: list[tuple[str, Any]] = [(f"info.{name}", {}) for name in ("cpu", "disk", "mem", "nic", "os")]
        odd = {"name": "printf", "args": ["20::\\377\\376 \\303\\n\\342\\202"], "stdin": "é €", "env": {"é": "ÿ"}}
        return [
            *infos,
            *((name, {}) for name in ("core.ping", "core.state", "core.killall", "process.list", "core.nonsense")),
            ("core.system", odd),
            ("core.system", {"name": "no-such-program"}),
            ("core.system", {"name": "/etc/passwd"}),
            ("core.system", {"name": "true", "dir": "/nowhere/ÿ"}),
            ("core.system", {"name": 5}),
            ("core.kill", {"id": "xn--é"}),
            ("process.kill", {"id": "ÿ", "signal": 9}),
            ("bash", {"script": "exit 3", "stdin": "x"}),
            ("bash", sh("sleep 5 &")),
        ]


def foreign(line: str) -> bool:
    """
    Whether a line of a process's table of mappings is of a file that is not the host's.
    """
    device, inode, *names = line.split(maxsplit=5)[3:]
    if inode == "0" or not names:
        return False
    try:
        found = os.stat(names[0].strip())
    except OSError:
        return True
    return (f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}", inode) != (device, str(found.st_ino))


class ZygoteTests(ConfinementCase):
    """
    What a CoreX is forked from.
    """

    def test_no_secrets(self) -> None:
        """
        The zygote has no socket and no password, neither of core0 nor of any CoreX; each CoreX has its own alone, and
        no program of the container has any. It ends with core0.
        """
        one, other = self.confined(), self.confined()
        zygote = zygotes(self.daemon)[0]
        for fd in Path(f"/proc/{zygote}/fd").iterdir():
            self.assertRegex(os.readlink(fd), r"^(/dev/null|pipe:\[\d+\])$")
        texts = [(self.daemon.run / name / "server.conf").read_text() for name in ("redis", "corex")]
        admins = {found for text in texts for found in re.findall(r"(?m)^user core0 .*#([0-9a-f]{64})", text)}
        self.assertEqual(2, len(admins))
        secrets = {number: self.secret(number) for number in (one, other)}
        everyone = {*admins, *secrets.values()}
        self.assertEqual(admins, holds(self.daemon.pid, everyone) & admins)
        self.assertEqual(set(), holds(zygote, everyone))
        for number in (one, other):
            self.assertEqual({secrets[number]}, holds(self.corex_of(number), everyone))
            self.assertEqual(set(), holds(self.listed()[str(number)]["pid"], everyone))
        type(self).tearDownClass()
        self.assertFalse(lives(zygote))
        type(self).setUpClass()

    def secret(self, number: int) -> str:
        """
        The hash of the password of a CoreX.
        """
        record = json.loads((self.daemon.state / "containers" / str(number) / "container.json").read_text())
        return str(record["secret"]).removeprefix("#")
