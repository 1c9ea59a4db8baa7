"""
The ``info.*`` commands: what the machine is that this Core runs on.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from zope.interface import implementer

from core0.facts import cpu, disk, limited, mem, nic, system
from core0.interfaces import BaseCommand, IAgent, ICommand, IJob
from core0.messages import Outcome, answer


@implementer(ICommand)
class InfoCommand(BaseCommand):
    """
    Answers facts: each of the commands names the function that collects them.
    """

    agent = IAgent
    repeatable = True
    collect: ClassVar[Callable[[], Any]]

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Collect them in a thread: all of it reads files, and some file systems are slow to answer.
        """
        return answer(await self._agent.in_thread(self.look))

    def look(self) -> Any:
        """
        What is answered.
        """
        return type(self).collect()


class InfoCpu(InfoCommand):
    """
    The processors: a list with one object for each logical CPU that is online.

    * ``cpu`` (integer): its number.
    * ``vendorId``, ``family``, ``model``, ``modelName`` (strings): who made it and what it is.
    * ``stepping`` (integer): its revision.
    * ``physicalId``, ``coreId`` (strings): its socket, and its core in there; threads of one core share both.
    * ``cores`` (integer): always 1.
    * ``mhz`` (number): its clock in MHz: the current one, on architectures that do not tell it the highest.
    * ``cacheSize`` (integer): its cache in KB.
    * ``flags`` (list of strings): what it is capable of.
    * ``microcode`` (string): the version of its microcode.

    What the architecture does not tell is "" or 0. In a container that may use so many cores there are no more of them
    than that, rounded up.
    """

    name = "info.cpu"
    collect = staticmethod(cpu.collect)

    def look(self) -> Any:
        """
        As many as the container may use.
        """
        return limited.processors(cpu.collect(), self._agent.limits.cpu)


class InfoDisk(InfoCommand):
    """
    The mounted file systems, and the disks and partitions that are not mounted: a list of objects.

    * ``device`` (string): the device, or what else is mounted: a server's export, ``tmpfs``.
    * ``mountpoint`` (string): where it is mounted, "" if it is not.
    * ``fstype`` (string): the type of the file system; "swap" for a device that is swapped to; else "" if not mounted.
    * ``opts`` (string): the options of the mount.
    * ``total``, ``used``, ``free`` (integers): the room in the file system, in bytes. ``free`` is what is left for
      everyone; some file systems reserve more for root. All three are 0 where a file system does not answer within
      2 seconds or refuses to, or lies below another mount.
    * ``size`` (integer): the size of the block device in bytes.
    * ``model`` (string): the model of the drive.
    * ``rotational`` (boolean): whether the drive has turning platters.
    * ``type`` (string): "disk", "part", "loop", "rom", "lvm", "crypt", "raid1" …, as ``lsblk`` has them.
    * ``parent`` (string): the name of the disk that this is a partition of, or of the first device that it is made of.

    The last five are 0, "" or false for what is no block device. There is one object for each mount, so a file system
    that is mounted twice is listed twice. Left out are file systems without any room (proc, sysfs, cgroup …), RAM
    disks, and devices without a size, such as unused loop devices and drives without a medium. "Not mounted" is not
    "not in use": RAID, LVM and file systems of several devices use some that are mounted nowhere.
    """

    name = "info.disk"
    collect = staticmethod(disk.collect)


class InfoMem(InfoCommand):
    """
    The memory: an object, in bytes.

    * ``total``, ``free`` (integers): all of it, and what nobody uses, not even as a cache.
    * ``available``, ``used`` (integers): what programs can still get without swapping, and the rest.
    * ``usedPercent`` (number): ``used`` in % of ``total``.
    * ``active``, ``inactive``, ``buffers``, ``cached``, ``shared`` (integers): its uses as the kernel counts them.
    * ``swap`` (object): ``total``, ``used`` and ``free`` of the swap space.

    In a container with a memory limit ``total``, ``free``, ``available``, ``used`` and ``usedPercent`` are about that;
    all else are figures of the host.
    """

    name = "info.mem"
    collect = staticmethod(mem.collect)

    def look(self) -> Any:
        """
        Within the limit of the container.
        """
        facts = mem.collect()
        limit = self._agent.limits.memory
        return facts if limit is None else limited.memory(facts, limit, limited.used())


class InfoNic(InfoCommand):
    """
    The network interfaces and their addresses: a list of objects.

    * ``name`` (string).
    * ``mtu`` (integer): the largest packet in bytes.
    * ``hardwareaddr`` (string): the MAC address, "" if there is none.
    * ``flags`` (list of strings): those of "up", "broadcast", "loopback", "pointtopoint", "multicast" that apply.
    * ``addrs`` (list of objects): ``addr`` of each is an IPv4 or IPv6 address with its prefix, such as "10.0.0.2/24".
    * ``speed`` (integer): in Mbit/s, -1 if unknown.
    * ``operstate`` (string): "up", "down", "lowerlayerdown", "dormant", "testing", "notpresent" or "unknown".
    """

    name = "info.nic"
    collect = staticmethod(nic.collect)


class InfoOs(InfoCommand):
    """
    The operating system: an object.

    * ``hostname`` (string).
    * ``os`` (string): "linux".
    * ``platform``, ``platformFamily``, ``platformVersion`` (strings): the distribution, the one that it descends from,
      and its version: "ubuntu", "debian", "24.04".
    * ``kernelVersion``, ``arch`` (strings): the kernel's release, and the machine as in ``uname -m``.
    * ``uptime`` (integer): seconds since the machine started.
    * ``bootTime`` (integer): when that was, in seconds since the epoch.
    * ``procs`` (integer): the number of processes.
    * ``virtualizationSystem`` (string): "kvm", "qemu", "xen", "vmware", "vbox", "hyperv", "docker", "podman", "lxc" …;
      "" on a real machine, or if unknown.
    * ``virtualizationRole`` (string): "guest" if it runs in one, "host" if it can run guests, else "".
    * ``hostid`` (string): what tells this machine from others: the machine id, else the product's UUID, else an id that
      is new at each boot.
    """

    name = "info.os"
    collect = staticmethod(system.collect)
