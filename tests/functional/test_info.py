"""
The info commands on the machine that the tests run on, compared with what others say of it.
"""

import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from unittest import SkipTest

import psutil
from zope.interface.verify import verifyClass

from core0.commands.info import InfoCommand, InfoCpu, InfoDisk, InfoMem, InfoNic, InfoOs
from core0.interfaces import IAgent, ICommand
from tests.functional.info import InfoTestCase, need, output
from tests.functional.shared import missing


class CommandTests(InfoTestCase):
    """
    All five of them.
    """

    COMMANDS = (InfoCpu, InfoDisk, InfoMem, InfoNic, InfoOs)

    def test_interface(self) -> None:
        """
        Each is a command that every Core has, and that may run again.
        """
        for command in self.COMMANDS:
            verifyClass(ICommand, command)
            self.assertEqual((IAgent, True, False, False), _declared(command))
        self.assertEqual(
            ["info.cpu", "info.disk", "info.mem", "info.nic", "info.os"], [command.name for command in self.COMMANDS]
        )

    def test_documented(self) -> None:
        """
        The command reference names every field of each answer.
        """
        for command in self.COMMANDS:
            answer = self.ask(command)
            for field in answer[0] if isinstance(answer, list) else answer:
                self.assertIn(f"``{field}``", command.__doc__ or "")


class CpuTests(InfoTestCase):
    """
    Processors.
    """

    def test_count(self) -> None:
        """
        There is one entry for each logical CPU.
        """
        answer = self.ask(InfoCpu)
        self.assertEqual(psutil.cpu_count(), len(answer))
        self.assertEqual(len(answer), len({cpu["cpu"] for cpu in answer}))

    def test_identity(self) -> None:
        """
        Maker, model and revision are those that lscpu tells.
        """
        need("lscpu")
        if platform.machine() != "x86_64":
            raise SkipTest("needs x86: elsewhere lscpu translates the numbers of the kernel into names")
        facts = {entry["field"]: entry["data"] for entry in _flat(json.loads(output("lscpu", "-J"))["lscpu"])}
        answer = self.ask(InfoCpu)[0]
        self.assertEqual(
            [facts[field] for field in ("Vendor ID:", "Model name:", "CPU family:", "Model:", "Stepping:")],
            [answer["vendorId"], answer["modelName"], answer["family"], answer["model"], str(answer["stepping"])],
        )
        self.assertEqual(facts["Flags:"].split(), answer["flags"])
        self.assertGreater(answer["mhz"], 0)


class MemoryTests(InfoTestCase):
    """
    Memory.
    """

    def test_figures(self) -> None:
        """
        The sizes are those of the kernel in bytes, and add up.
        """
        answer = self.ask(InfoMem)
        expected, swap = psutil.virtual_memory(), psutil.swap_memory()
        self.assertEqual((expected.total, swap.total), (answer["total"], answer["swap"]["total"]))
        self.assert_near(expected.available, answer["available"], expected.total / 10)
        self.assert_near(expected.free, answer["free"], expected.total / 10)
        self.assertEqual(answer["total"], answer["used"] + answer["available"])
        self.assertAlmostEqual(100 * answer["used"] / answer["total"], answer["usedPercent"])


class SystemTests(InfoTestCase):
    """
    The operating system.
    """

    def test_answer(self) -> None:
        """
        Names, versions and times are those that the system itself tells.
        """
        answer = self.ask(InfoOs)
        self.assertEqual(
            [socket.gethostname(), "linux", os.uname().release, os.uname().machine],
            [answer[field] for field in ("hostname", "os", "kernelVersion", "arch")],
        )
        self.assert_near(psutil.boot_time(), answer["bootTime"], 2)
        self.assert_near(time.clock_gettime(time.CLOCK_BOOTTIME), answer["uptime"], 5)
        self.assertGreater(answer["procs"], 0)
        self.assertTrue(answer["hostid"])

    def test_distribution(self) -> None:
        """
        The distribution is the one that os-release names.
        """
        answer = self.ask(InfoOs)
        try:
            expected = platform.freedesktop_os_release()
        except OSError as error:
            raise missing("needs an os-release file to compare with") from error
        self.assertEqual((expected["ID"], expected.get("VERSION_ID", "")), _distribution(answer))

    def test_virtualization(self) -> None:
        """
        It is a guest exactly where systemd thinks so too.
        """
        need("systemd-detect-virt")
        found = subprocess.run(["systemd-detect-virt"], check=False, capture_output=True, text=True, timeout=60)
        self.assertEqual(found.stdout.strip() != "none", self.ask(InfoOs)["virtualizationRole"] == "guest")


def _declared(command: type[InfoCommand]) -> tuple[object, bool, bool, bool]:
    return command.agent, command.repeatable, command.urgent, command.instant


def _flat(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield entry
        yield from _flat(entry.get("children", []))


def _distribution(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["platform"], answer["platformVersion"]
