"""
How core0 tells real machines, virtual ones and containers apart.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.facts.virtualization import Virtualization, detect
from tests.unit.machine import machine

CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"
VENDOR, PRODUCT = "sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"
IN_GUEST = {"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu hypervisor lahf_lm\n"}
ON_METAL = {"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu lahf_lm\n"}


class VirtualizationTests(SynchronousTestCase):
    """
    Virtualization, from the files that each kind leaves.
    """

    def assert_detected(self, system: str, role: str, files: dict[str, str]) -> None:
        self.assertEqual(Virtualization(system, role), detect(machine(self, files)), files)

    def test_real_machine(self) -> None:
        """
        A machine without any sign is neither guest nor host.
        """
        self.assertEqual(Virtualization(), detect(Path("/nonexistent")))
        self.assert_detected("", "", ON_METAL | {VENDOR: "Dell Inc.\n", PRODUCT: "PowerEdge R640\n"})

    def test_containers(self) -> None:
        """
        Each container manager is known by what it leaves in the container, one that only names itself too.
        """
        for system, files in [
            ("lxc", {"proc/1/environ": "PATH=/bin\0container=lxc\0"}),
            ("systemd-nspawn", {"run/systemd/container": "systemd-nspawn\n"}),
            ("podman", {"run/.containerenv": ""}),
            ("docker", {".dockerenv": ""}),
            ("docker", {"proc/1/cgroup": "9:name=systemd:/docker/3fe8\n8:pids:/docker/3fe8\n"}),
            ("kubernetes", {"proc/1/cgroup": "9:cpu:/kubepods/burstable/pod1/3f\n"}),
            ("openvz", {"proc/vz/x": ""}),
            ("wsl", {"proc/sys/kernel/osrelease": "5.15.90.1-microsoft-standard-WSL2\n"}),
        ]:
            self.assert_detected(system, "guest", files)

    def test_container_in_a_virtual_machine(self) -> None:
        """
        The innermost one is told.
        """
        self.assert_detected("docker", "guest", {".dockerenv": "", CLOCKS: "kvm-clock tsc \n"} | IN_GUEST)

    def test_machines_by_clock(self) -> None:
        """
        A paravirtual clock names the hypervisor.
        """
        for system, clocks in [
            ("kvm", "kvm-clock tsc acpi_pm \n"),
            ("hyperv", "hyperv_clocksource_tsc_page acpi_pm \n"),
            ("xen", "xen tsc hpet \n"),
        ]:
            self.assert_detected(system, "guest", IN_GUEST | {CLOCKS: clocks})
        self.assert_detected("", "", ON_METAL | {CLOCKS: "tsc hpet acpi_pm \n"})

    def test_machines_by_firmware(self) -> None:
        """
        The strings of the firmware name the hypervisor.
        """
        for system, vendor, product in [
            ("qemu", "QEMU", "Standard PC (Q35 + ICH9, 2009)"),
            ("kvm", "Red Hat", "KVM"),
            ("kvm", "Amazon EC2", "t3.micro"),
            ("vmware", "VMware, Inc.", "VMware Virtual Platform"),
            ("vbox", "innotek GmbH", "VirtualBox"),
            ("hyperv", "Microsoft Corporation", "Virtual Machine"),
        ]:
            self.assert_detected(system, "guest", IN_GUEST | {VENDOR: f"{vendor}\n", PRODUCT: f"{product}\n"})

    def test_real_machine_of_a_cloud(self) -> None:
        """
        A machine that is rented whole is no guest, though its firmware has the same vendor as the guests'.
        """
        self.assert_detected("", "", ON_METAL | {VENDOR: "Amazon EC2\n", PRODUCT: "c5.metal\n"})
        self.assert_detected("", "", {VENDOR: "Amazon EC2\n", PRODUCT: "a1.metal\n"})
        self.assert_detected("", "", ON_METAL | {VENDOR: "Microsoft Corporation\n", PRODUCT: "Surface Laptop 4\n"})

    def test_xen(self) -> None:
        """
        Xen's first domain is the host, all others are guests.
        """
        self.assert_detected("xen", "guest", {"sys/hypervisor/type": "xen\n"})
        control = {"sys/hypervisor/type": "xen\n", "proc/xen/capabilities": "control_d\n", CLOCKS: "xen tsc\n"}
        self.assert_detected("xen", "host", control)

    def test_other_architectures(self) -> None:
        """
        Device trees and the control program of s390 tell as well.
        """
        self.assert_detected("kvm", "guest", {"proc/device-tree/hypervisor/compatible": "linux,kvm\0"})
        self.assert_detected("xen", "guest", {"proc/device-tree/hypervisor/compatible": "xen,xen-4.17\0xen,xen\0"})
        self.assert_detected("qemu", "guest", {"proc/device-tree/compatible": "qemu,pseries\0"})
        self.assert_detected("zvm", "guest", {"proc/sysinfo": "VM00 Control Program: z/VM    6.4.0\n"})
        self.assert_detected("uml", "guest", {"proc/cpuinfo": "vendor_id\t: User Mode Linux\n"})

    def test_hosts(self) -> None:
        """
        A real machine that can run guests is a host of these; a guest that can is a guest.
        """
        self.assert_detected("kvm", "host", ON_METAL | {"dev/kvm": ""})
        self.assert_detected("vbox", "host", ON_METAL | {"sys/module/vboxdrv/x": ""})
        self.assert_detected("kvm", "guest", IN_GUEST | {"dev/kvm": "", CLOCKS: "kvm-clock\n"})

    def test_unknown_hypervisor(self) -> None:
        """
        A processor that says there is a hypervisor makes it a guest, of whatever it is.
        """
        self.assert_detected("", "guest", IN_GUEST)
