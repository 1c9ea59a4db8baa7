"""
What core0 tells of memory and the operating system, and how it reads such files.
"""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.facts import system
from core0.facts.files import LARGEST, integer, names, text
from core0.messages import encode
from tests.unit.machine import machine

NOWHERE = Path("/nonexistent")


class SystemTests(SynchronousTestCase):
    """
    What ``info.os`` finds out.
    """

    def test_answer(self) -> None:
        """
        Every fact has its field.
        """
        found = system.collect(
            machine(
                self,
                {
                    "proc/sys/kernel/hostname": "node-7\n",
                    "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
                    "proc/uptime": "891.85 1723.84\n",
                    "proc/stat": "cpu  1 2 3\nintr 1 2\nctxt 9\nbtime 1479200000\nprocesses 5\n",
                    "proc/1/cgroup": "0::/init.scope\n",
                    "proc/77/comm": "sh\n",
                    "proc/bus/x": "",
                    "etc/os-release": 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n',
                    "etc/machine-id": "3D1219C7c4c5404aaa1f6d2a48adfda4\n",
                },
            )
        )
        answer = json.loads(encode(found))
        self.assertTrue(answer.pop("arch"))
        self.assertEqual(
            {
                "hostname": "node-7",
                "os": "linux",
                "platform": "ubuntu",
                "platformFamily": "debian",
                "platformVersion": "24.04",
                "kernelVersion": "6.1.0-18-amd64",
                "uptime": 891,
                "bootTime": 1479200000,
                "procs": 2,
                "virtualizationSystem": "",
                "virtualizationRole": "",
                "hostid": "3d1219c7c4c5404aaa1f6d2a48adfda4",
            },
            answer,
        )

    def test_nothing_known(self) -> None:
        """
        Without any of the files there is an answer of empty facts.
        """
        found = system.collect(NOWHERE)
        self.assertEqual(("", "", "", ""), (found.hostname, found.platform, found.platform_family, found.hostid))
        self.assertEqual((0, 0, 0), (found.uptime, found.boot_time, found.procs))

    def test_quoting(self) -> None:
        """
        os-release is read as a shell would: quotes of both kinds, escapes, comments, and lines that mean nothing.
        """
        found = system.parse_release(
            "# a comment\n"
            "\n"
            'A="two words"\n'
            "B='single $x \\ kept'\n"
            "C=bare\n"
            'D="a \\"quoted\\" \\$word \\\\ \\n"\n'
            "E=\n"
            '  F="spaces around"  \n'
            "nonsense\n"
            "G=es\\'caped\n"
        )
        self.assertEqual(
            {
                "A": "two words",
                "B": "single $x \\ kept",
                "C": "bare",
                "D": 'a "quoted" $word \\ \\n',
                "E": "",
                "F": "spaces around",
                "G": "es'caped",
            },
            found,
        )

    @given(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])))
    def test_quoted_value_comes_back(self, value: str) -> None:
        """
        A value in double quotes, escaped as the format asks for, is read back as it was.
        """
        escaped = "".join(f"\\{letter}" if letter in '"\\$`' else letter for letter in value)
        self.assertEqual({"ID": value}, system.parse_release(f'ID="{escaped}"\n'))

    @given(st.text())
    def test_any_text(self, os_release: str) -> None:
        """
        No os-release file is too odd to be read.
        """
        json.loads(encode(system.family(system.parse_release(os_release))))

    def test_families(self) -> None:
        """
        A distribution belongs to the family that it descends from, an origin to its own.
        """
        for own, like, expected in [
            ("debian", "", "debian"),
            ("linuxmint", "ubuntu debian", "debian"),
            ("rocky", "rhel centos fedora", "rhel"),
            ("rhel", "fedora", "rhel"),
            ("opensuse-leap", "suse opensuse", "suse"),
            ("void", "", "void"),
            ("child", "parent", "parent"),
        ]:
            self.assertEqual(expected, system.family({"ID": own, "ID_LIKE": like}))

    def test_release_file_of_the_vendor(self) -> None:
        """
        Where /etc has no os-release, the one in /usr/lib counts; a rolling release is its own version.
        """
        found = system.collect(machine(self, {"usr/lib/os-release": "ID=arch\nBUILD_ID=rolling\n"}))
        self.assertEqual(("arch", "arch", "rolling"), (found.platform, found.platform_family, found.platform_version))

    def test_host_id(self) -> None:
        """
        The machine id comes first, then the product's, then that of this boot; one that was never set is none.
        """
        files = {"etc/machine-id": "uninitialized\n", "sys/class/dmi/id/product_uuid": "AB-12\n"}
        boot = {"proc/sys/kernel/random/boot_id": "b007\n"}
        self.assertEqual("ab-12", system.host_id(machine(self, files | boot)))
        self.assertEqual("b007", system.host_id(machine(self, {"etc/machine-id": ""} | boot)))


class FileTests(SynchronousTestCase):
    """
    Reading files that may be odd, or not there.
    """

    def test_missing(self) -> None:
        """
        What does not exist, or is a folder, reads as empty.
        """
        root = machine(self, {"folder/file": "x"})
        self.assertEqual(
            ("", "", [], ["file"]), (text(root / "none"), text(root), names(root / "x"), names(root / "folder"))
        )

    def test_not_utf8(self) -> None:
        """
        Bytes that are no UTF-8 are replaced, so that JSON can hold the text.
        """
        self.assertEqual("a\ufffdb", text(machine(self, {"x": b"a\xffb\n\0"}) / "x"))

    @given(st.integers())
    def test_integers(self, number: int) -> None:
        """
        Numbers are read as they are, up to what 64 bits hold.
        """
        self.assertEqual(max(-LARGEST, min(number, LARGEST)), integer(f"{number} KB"))

    def test_no_integer(self) -> None:
        """
        What does not begin with a number has the value that was asked for; thousands of digits are the largest number.
        """
        self.assertEqual((-1, LARGEST), (integer("unknown", -1), integer("9" * 10_000)))
