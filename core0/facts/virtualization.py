"""
Whether this is a real machine, a virtual one, or a container. Told from files only; nothing is run.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core0.facts.files import data, text

_HYPERVISOR = re.compile(r"^flags\s*:.*\bhypervisor\b", re.MULTILINE)
_X86 = re.compile(r"^flags\s*:", re.MULTILINE)
_CONTAINER = re.compile(r"/(docker|lxc|libpod|kubepods)\b")
_CONTAINERS = {"libpod": "podman", "kubepods": "kubernetes"}

# what a paravirtual clock says is true even where the firmware's strings say something else
_CLOCKS = (("kvm-clock", "kvm"), ("hyperv_clocksource", "hyperv"), ("xen", "xen"))

_FIRMWARE = ("sys_vendor", "product_name", "product_version", "board_vendor", "bios_vendor")
_FIRMWARE_WORDS = (
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("Amazon EC2", "kvm"),
    ("Google Compute Engine", "kvm"),
    ("DigitalOcean", "kvm"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VirtualBox", "vbox"),
    ("innotek GmbH", "vbox"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Virtual Machine", "hyperv"),
    ("Apple Virtualization", "apple"),
)


@dataclass(frozen=True, slots=True)
class Virtualization:
    """
    ``role`` is ``guest``, ``host`` (it can run guests), or empty; ``system`` is of what, empty where that is unknown.
    """

    system: str = ""
    role: str = ""


def detect(root: Path) -> Virtualization:
    """
    Look for the innermost one: a container in a virtual machine is a container.
    """
    guest = _container(root) or _machine(root)
    if guest:
        return Virtualization(guest, "guest")
    host = _host(root)
    if host:
        return Virtualization(host, "host")
    return Virtualization("", "guest") if _HYPERVISOR.search(text(root / "proc/cpuinfo")) else Virtualization()


def _first(root: Path, *detectors: Callable[[Path], str]) -> str:
    return next((found for detector in detectors if (found := detector(root))), "")


def _container(root: Path) -> str:
    return _first(root, _declared_container, _marked_container, _container_of_cgroup)


def _declared_container(root: Path) -> str:
    """
    What the container's manager says, in one of the ways that systemd agreed on with them.
    """
    for variable in data(root / "proc/1/environ").split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == b"container" and value:
            return value.decode("utf-8", "replace")
    return text(root / "run/systemd/container") or text(root / "run/host/container-manager")


def _marked_container(root: Path) -> str:
    if os.path.exists(root / "run/.containerenv"):
        return "podman"
    if os.path.exists(root / ".dockerenv"):
        return "docker"
    if os.path.exists(root / "proc/vz") and not os.path.exists(root / "proc/bc"):
        return "openvz"
    return "wsl" if "microsoft" in text(root / "proc/sys/kernel/osrelease").lower() else ""


def _container_of_cgroup(root: Path) -> str:
    found = _CONTAINER.search(text(root / "proc/1/cgroup"))
    return _CONTAINERS.get(found[1], found[1]) if found else ""


def _machine(root: Path) -> str:
    return _first(root, _xen_guest, _machine_of_clock, _machine_of_firmware, _machine_of_device_tree, _other_machine)


def _is_xen_host(root: Path) -> bool:
    return "control_d" in text(root / "proc/xen/capabilities")


def _xen_guest(root: Path) -> str:
    xen = text(root / "sys/hypervisor/type") == "xen" or os.path.exists(root / "proc/xen")
    return "xen" if xen and not _is_xen_host(root) else ""


def _machine_of_clock(root: Path) -> str:
    clocks = text(root / "sys/devices/system/clocksource/clocksource0/available_clocksource").split()
    for prefix, system in _CLOCKS:
        if any(clock.startswith(prefix) for clock in clocks) and not (system == "xen" and _is_xen_host(root)):
            return system
    return ""


def _machine_of_firmware(root: Path) -> str:
    cpuinfo = text(root / "proc/cpuinfo")
    if _X86.search(cpuinfo) and not _HYPERVISOR.search(cpuinfo):
        return ""  # clouds rent real machines too, with the same names in the firmware
    words = " ".join(text(root / "sys/class/dmi/id" / name) for name in _FIRMWARE)
    if ".metal" in words:
        return ""
    return next((system for word, system in _FIRMWARE_WORDS if word in words), "")


def _machine_of_device_tree(root: Path) -> str:
    tree = root / "proc/device-tree"
    hypervisor = text(tree / "hypervisor/compatible")
    if hypervisor:
        return "xen" if "xen" in hypervisor else "kvm" if "kvm" in hypervisor else hypervisor.partition("\0")[0]
    return "qemu" if "qemu" in text(tree / "compatible") else ""


def _other_machine(root: Path) -> str:
    if "User Mode Linux" in text(root / "proc/cpuinfo"):
        return "uml"
    control_program = text(root / "proc/sysinfo")
    if "KVM/Linux" in control_program:
        return "kvm"
    return "zvm" if "z/VM" in control_program else ""


def _host(root: Path) -> str:
    if _is_xen_host(root):
        return "xen"
    if os.path.exists(root / "dev/kvm"):
        return "kvm"
    return "vbox" if os.path.exists(root / "sys/module/vboxdrv") else ""
