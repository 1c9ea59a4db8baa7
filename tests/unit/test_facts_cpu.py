"""
What core0 tells of processors, on the architectures that it may meet.
"""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.facts import cpu
from core0.messages import encode
from tests.unit.machine import machine

NOWHERE = Path("/nonexistent")

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz
stepping\t: 4
microcode\t: 0x2006e05
cpu MHz\t\t: 2794.748
cache size\t: 22528 KB
physical id\t: 0
siblings\t: 32
core id\t\t: 0
cpu cores\t: 16
flags\t\t: fpu vme de pse
power management:

processor\t: 33
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz
stepping\t: unknown
physical id\t: 1
core id\t\t: 12
flags\t\t: fpu
power management:

"""

ARM64 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0xc3
CPU architecture: 8
CPU part\t: 0xd08
CPU revision\t: 3

Hardware\t: BCM2835
Revision\t: c03111
Serial\t\t: 10000000abcdef01
Model\t\t: Raspberry Pi 4 Model B Rev 1.1
"""

OLD_ARM = """\
Processor\t: ARMv7 Processor rev 10 (v7l)
processor\t: 0
BogoMIPS\t: 790.52

processor\t: 1
BogoMIPS\t: 790.52

Features\t: swp half neon
CPU implementer\t: 0x41
CPU architecture: 7
CPU part\t: 0xc09
CPU revision\t: 10

Hardware\t: Freescale i.MX 6Quad
Revision\t: 0000
"""

OLDEST_ARM = """\
Processor\t: ARM926EJ-S rev 5 (v5l)
BogoMIPS\t: 148.88
Features\t: swp half thumb
CPU implementer\t: 0x41
CPU architecture: 5TEJ
"""

POWER = """\
processor\t: 0
cpu\t\t: POWER9 (architected), altivec supported
clock\t\t: 2750.000000MHz
revision\t: 2.2 (pvr 004e 1202)

timebase\t: 512000000
platform\t: pSeries
model\t\t: IBM pSeries (emulated by qemu)
"""

S390 = """\
vendor_id       : IBM/S390
# processors    : 1
features\t: esan3 zarch stfle
processor 0: version = FF,  identification = 0133E8,  machine = 2964

cpu number      : 0
physical id     : 1
core id         : 7
cpu MHz dynamic : 5000
cpu MHz static  : 5000
"""


class CpuTests(SynchronousTestCase):
    """
    What ``info.cpu`` makes of ``/proc/cpuinfo``.
    """

    def test_x86(self) -> None:
        """
        On x86 everything comes from the processor's own block, under the names of the kernel.
        """
        first, second = cpu.collect(machine(self, {"proc/cpuinfo": X86}))
        self.assertEqual(
            {
                "cpu": 0,
                "vendorId": "GenuineIntel",
                "family": "6",
                "model": "85",
                "stepping": 4,
                "physicalId": "0",
                "coreId": "0",
                "cores": 1,
                "modelName": "Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz",
                "mhz": 2794.748,
                "cacheSize": 22528,
                "flags": ["fpu", "vme", "de", "pse"],
                "microcode": "0x2006e05",
            },
            json.loads(encode(first)),
        )
        self.assertEqual((33, "1", "12", 0, 0.0, ""), (*_place(second), second.stepping, second.mhz, second.microcode))

    def test_arm64(self) -> None:
        """
        On ARM the maker's number becomes a name if it is a known one, and what /sys knows fills the gaps.
        """
        sysfs = "sys/devices/system/cpu/cpu0"
        first, second = cpu.collect(
            machine(
                self,
                {
                    "proc/cpuinfo": ARM64,
                    f"{sysfs}/topology/core_id": "2\n",
                    f"{sysfs}/topology/physical_package_id": "-1\n",
                    f"{sysfs}/cpufreq/cpuinfo_max_freq": "1500000\n",
                    f"{sysfs}/cache/index0/size": "32K\n",
                    f"{sysfs}/cache/index2/size": "1024K\n",
                },
            )
        )
        self.assertEqual(("ARM", "8", "0xd08", 3), (first.vendor_id, first.family, first.model, first.stepping))
        self.assertEqual(("", "2", 1500.0, 1024), (first.physical_id, first.core_id, first.mhz, first.cache_size))
        self.assertEqual(("fp", "asimd", "evtstrm", "crc32", "cpuid"), first.flags)
        self.assertEqual(("0xc3", "0xd08", "", ""), (second.vendor_id, second.model, second.model_name, second.core_id))

    def test_facts_said_once(self) -> None:
        """
        What old ARM kernels print once is true of each processor.
        """
        found = cpu.collect(machine(self, {"proc/cpuinfo": OLD_ARM}))
        self.assertEqual([0, 1], [each.cpu for each in found])
        for each in found:
            self.assertEqual("ARMv7 Processor rev 10 (v7l)", each.model_name)
            self.assertEqual(("ARM", "7", "0xc09", 10), (each.vendor_id, each.family, each.model, each.stepping))
            self.assertEqual(("swp", "half", "neon"), each.flags)

    def test_no_processor_listed(self) -> None:
        """
        A kernel that numbers no processors has those that /sys says are online.
        """
        found = cpu.collect(machine(self, {"proc/cpuinfo": OLDEST_ARM, "sys/devices/system/cpu/online": "0-1,4\n"}))
        self.assertEqual([0, 1, 4], [each.cpu for each in found])
        self.assertEqual({"ARM926EJ-S rev 5 (v5l)"}, {each.model_name for each in found})
        self.assertEqual({"5TEJ"}, {each.family for each in found})

    def test_other_architectures(self) -> None:
        """
        POWER and s390 tell the model and clock, and facts about the whole machine are not taken for the processor's.
        """
        (power,) = cpu.collect(machine(self, {"proc/cpuinfo": POWER}))
        self.assertEqual(
            ("POWER9 (architected), altivec supported", 2750.0, ""), (power.model_name, power.mhz, power.model)
        )
        (mainframe,) = cpu.collect(machine(self, {"proc/cpuinfo": S390}))
        self.assertEqual((0, "1", "7"), _place(mainframe))
        self.assertEqual(("IBM/S390", 5000.0), (mainframe.vendor_id, mainframe.mhz))
        self.assertEqual(("esan3", "zarch", "stfle"), mainframe.flags)

    def test_nothing_known(self) -> None:
        """
        A machine without /proc and /sys has no processors to tell of.
        """
        self.assertEqual([], cpu.collect(NOWHERE))

    def test_online_ranges(self) -> None:
        """
        Lists of CPUs are read whether they have ranges, single numbers, or nothing.
        """
        self.assertEqual([0, 1, 2, 3, 8], cpu.parse_range("0-3,8"))
        self.assertEqual([], cpu.parse_range(""))
        self.assertEqual([], cpu.parse_range("0-"))

    @given(st.text() | st.lists(st.sampled_from(X86.splitlines() + ARM64.splitlines() + ["x", ":"])).map("\n".join))
    def test_any_text(self, cpuinfo: str) -> None:
        """
        Whatever the kernel prints there is an answer, and JSON can hold it.
        """
        found, _ = cpu.parse(cpuinfo)
        json.loads(encode([cpu.describe(number, fields, NOWHERE) for number, fields in found.items()]))


def _place(found: cpu.Cpu) -> tuple[int, str, str]:
    return found.cpu, found.physical_id, found.core_id
