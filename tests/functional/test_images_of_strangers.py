"""
Containers of root file systems that others have made: with little in them, with another libc, with that of a
distribution; and with what is meant to get out.
"""

import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.functional.containers import BUSYBOX, ContainerTestCase
from tests.functional.shared import answer_of, missing, sh
from tests.functional.test_confinement_shared import compiled

HELLO = r"""
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>
static void *work(void *word) { return word; }
int main(int count, char **words) {
    pthread_t thread;
    void *said = NULL;
    struct passwd *user = getpwuid(getuid());
    if (pthread_create(&thread, NULL, work, "thread") || pthread_join(thread, &said)) return 1;
    printf("%d %s %s %d\n", count, (char *)said, user ? user->pw_name : "nobody", (int)getuid());
    return 0;
}
"""
# programs of this host that a distribution has, too
PROGRAMS = ("/bin/bash", "/bin/ls", "/bin/cat", "/usr/bin/apt", "/usr/bin/dpkg", "/usr/bin/id", "/usr/bin/env")
FOUND_BY_LDD = re.compile(r"(?:=> )?(/\S+) \(0x")
SHELL = "bin/busybox"
CAPABLE = "\x01\x00\x00\x02\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00"


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """
    What an archive says of a file.
    """
    found = tarfile.TarInfo(name)
    found.type, found.mode = kind, 0o755
    for field, value in fields.items():
        setattr(found, field, value)
    return found


class StrangersCase(ContainerTestCase):
    """
    Tests that make images of their own.
    """

    def archive(self, *entries: tarfile.TarInfo, **files: bytes) -> str:
        """
        The path of an archive of these.

        :param files: contents by path.
        """
        path = self.folder() / "image.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for each in entries:
                archive.addfile(each)
            for name, content in files.items():
                archive.addfile(entry(name, size=len(content)), io.BytesIO(content))
        return str(path)

    def with_shell(self, *entries: tarfile.TarInfo, **files: bytes) -> str:
        """
        The path of an archive of these and a shell.
        """
        busybox = Path(BUSYBOX).read_bytes()
        links = [
            entry(f"bin/{name}", tarfile.SYMTYPE, linkname="busybox") for name in ("sh", "ls", "cat", "find", "stat")
        ]
        return self.archive(*links, *entries, **{SHELL: busybox, **files})

    def assert_answers(self, number: int) -> None:
        """
        A CoreX does not need anything of its image.
        """
        self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))
        for name in ("cpu", "disk", "mem", "nic", "os"):
            self.assertEqual("SUCCESS", self.inside(number, f"info.{name}")["state"], name)


class LibrariesTests(StrangersCase):
    """
    Images by their libc.
    """

    def hello(self, number: int, name: str, who: str) -> None:
        """
        Run the program of the image.
        """
        result = self.inside(number, "core.system", {"name": name, "args": ["a"]})
        self.assertEqual(("SUCCESS", f"2 thread {who} 0\n"), (result["state"], result["streams"][0]), result)

    def test_none(self) -> None:
        """
        An image of a single static program, without any folder, is enough; what is not in there is not found.
        """
        number = self.create(plist=self.archive(hello=compiled("gcc", HELLO, "-static")))
        self.hello(number, "/hello", "nobody")
        self.assert_answers(number)
        for command, arguments in (("core.system", sh("true")), ("bash", {"script": "true"})):
            result = self.inside(number, command, arguments)
            self.assertEqual(("ERROR", 127), (result["state"], result["code"]), result)

    def test_empty(self) -> None:
        """
        An image of nothing but an empty folder makes a container as well.
        """
        number = self.create(plist=self.archive(entry("data", tarfile.DIRTYPE)))
        self.assert_answers(number)

    def test_musl(self) -> None:
        """
        Programs find the libc of their image: here musl.
        """
        if shutil.which("musl-gcc") is None:
            raise missing("needs musl-tools")
        program = compiled("musl-gcc", HELLO, "-O1")
        loader = re.search(rb"\0(/lib/ld-musl-[^\0]+)\0", program)
        assert loader is not None
        name = loader[1].decode()
        libc = next(Path("/usr/lib").glob("*-linux-musl/libc.so")).read_bytes()
        files = {name[1:]: libc, "bin/hello": program, "etc/passwd": b"root:x:0:0::/root:/bin/hello\n"}
        number = self.create(plist=self.archive(**files))
        self.hello(number, "hello", "root")
        self.assert_answers(number)

    def test_distribution(self) -> None:
        """
        A root as that of a distribution, with bash, its package manager and their libraries, does what it does there.
        """
        files = {path[1:]: Path(path).read_bytes() for path in self.host_files()}
        files["etc/passwd"] = b"root:x:0:0:root:/root:/bin/bash\n"
        files["etc/group"] = b"root:x:0:\n"
        number = self.create(plist=self.archive(**files))
        result = self.inside(
            number, "bash", {"script": "set -o pipefail; type -t apt; id -un; apt --version | cat; [[ a == ? ]]"}
        )
        self.assertEqual(("SUCCESS", ""), (result["state"], result["streams"][1]), result)
        self.assertRegex(result["streams"][0], r"^file\nroot\napt [0-9]")
        release = dict(line.split("=", 1) for line in files["etc/os-release"].decode().splitlines() if "=" in line)
        self.assertEqual(release["ID"].strip('"'), answer_of(self.inside(number, "info.os"))["platform"])
        self.assert_answers(number)

    def host_files(self) -> Iterator[str]:
        """
        The programs, and all that they are linked with.
        """
        programs = [path for path in PROGRAMS if os.path.exists(path)]
        if "/usr/bin/apt" not in programs:
            raise missing("needs a Debian host")
        said = subprocess.run(["ldd", *programs], check=True, capture_output=True).stdout.decode()
        tables = map(str, Path("/usr/share/dpkg").glob("*table"))
        return iter({*programs, *FOUND_BY_LDD.findall(said), *tables, "/etc/os-release"})


class HostileTests(StrangersCase):
    """
    Images that are meant to get out.
    """

    def test_links_at_mount_points(self) -> None:
        """
        Where an image has a symlink at a place that something is mounted at, the container is refused, or it is mounted
        inside; on the host nothing is made, whatever the symlink says.
        """
        outside = self.folder()
        for depth in ("", "../" * 20):
            for name in ("proc", "dev", "sys", "tmp", "etc", "etc/hosts", "etc/resolv.conf", "dev/shm"):
                link = entry(name, tarfile.SYMTYPE, linkname=f"{depth}{outside}/{Path(name).name}")
                arguments = {"plist": self.with_shell(link)}
                result = self.daemon.run_command("corex.create", arguments)
                self.assertEqual([], list(outside.iterdir()), name)
                if result["state"] == "SUCCESS":
                    number = int(answer_of(result))
                    # whatever was mounted, it is the container's own
                    self.inside_sh(number, "read x < /proc/self/status; ls /dev/null; cat /etc/hosts; > /tmp/x")
                    self.assertEqual([], list(outside.iterdir()), name)
                    self.terminate(number)
                else:
                    self.assert_refused(400, " of the image ", result)
                self.assert_nothing_left()

    def test_targets_of_mounts(self) -> None:
        """
        A mount whose target leads out of the image by a symlink is made inside, or refused; nothing is made on the
        host, and nothing of the host is hidden.
        """
        outside, shown = self.folder(), self.folder()
        (shown / "shown").write_text("by a mount\n")
        links = [
            entry("data/out", tarfile.SYMTYPE, linkname="../" * 20 + str(outside)[1:]),
            entry("data/absolute", tarfile.SYMTYPE, linkname=str(outside)),
            entry("data/self", tarfile.SYMTYPE, linkname="/proc/self/root"),
            entry("data/loop", tarfile.SYMTYPE, linkname="loop"),
        ]
        url = self.with_shell(*links)
        for target in ("out/new", "out", "absolute/new/er", "absolute", "self/new", "loop/new"):
            result = self.daemon.run_command("corex.create", {"plist": url, "mount": {str(shown): f"/data/{target}"}})
            if result["state"] == "SUCCESS":
                number = int(answer_of(result))
                self.assertEqual("by a mount\n", self.inside_sh(number, f"cat /data/{target}/shown"))
                self.terminate(number)
            else:
                self.assertIn(result["code"], (400, 503), result)
            self.assertEqual([], list(outside.iterdir()), target)
            self.assert_nothing_left()

    def test_special_files(self) -> None:
        """
        Devices and attributes of an image do not come into a container; its set-uid programs give nobody any rights.
        """
        odd = {"SCHILY.xattr.trusted.overlay.redirect": "/../../../etc", "SCHILY.xattr.trusted.overlay.opaque": "y"}
        odd |= {"SCHILY.xattr.security.capability": CAPABLE}
        entries = [
            entry("data", tarfile.DIRTYPE, pax_headers=odd),
            entry("data/disk", tarfile.BLKTYPE, devmajor=254, devminor=0),
            entry("data/memory", tarfile.CHRTYPE, devmajor=1, devminor=1),
            entry("data/whiteout", tarfile.CHRTYPE, devmajor=0, devminor=0),
            entry("bin/capable", tarfile.LNKTYPE, linkname=SHELL, mode=0o6755, pax_headers=odd),
        ]
        # the link goes after what it is to
        path = Path(self.with_shell(*entries[:-1]))
        with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(entries[-1])
        number = self.create(plist=str(path))
        self.assertEqual("", self.inside_sh(number, "find / -xdev '(' -type b -o -type c ')' -not -path '/dev/*'"))
        self.assertNotEqual(0, self.inside(number, "core.system", {"name": "cat", "args": ["/data/disk"]})["code"])
        for found in (self.daemon.state / "images" / "roots").rglob("*"):
            self.assertEqual([], os.listxattr(found, follow_symlinks=False), found)

    def test_names(self) -> None:
        """
        Names that lead out of the image are refused, or stay inside; no file of the host is linked, read or written.
        """
        outside = self.folder()
        (outside / "secret").write_text("of the host\n")
        up = "../" * 20 + str(outside)[1:]
        soft = entry("soft", tarfile.SYMTYPE, linkname=f"{outside}/secret")
        archives = [
            self.with_shell(**{f"{up}/new": b"x"}),
            self.with_shell(**{f"{outside}/new": b"x"}),
            self.with_shell(entry("in", tarfile.SYMTYPE, linkname=str(outside)), **{"in/new": b"x"}),
            self.with_shell(entry("hard", tarfile.LNKTYPE, linkname=f"{up}/secret")),
            self.with_shell(entry("hard", tarfile.LNKTYPE, linkname=f"{outside}/secret")),
            self.with_shell(soft, entry("hard", tarfile.LNKTYPE, linkname="soft")),
        ]
        for url in archives:
            result = self.daemon.run_command("corex.create", {"plist": url})
            if result["state"] == "SUCCESS":
                number = int(answer_of(result))
                said = self.inside(number, "core.system", sh("cat /hard /soft /in/secret; find / -xdev -name secret"))
                self.assertNotIn("of the host", said["streams"][0])
                self.terminate(number)
            else:
                self.assertRegex(answer_of(result), "^arguments.plist: ")
            self.assertEqual(["secret"], [path.name for path in outside.iterdir()], url)
        self.assertEqual(1, os.stat(outside / "secret").st_nlink)
