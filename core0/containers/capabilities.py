"""
The capabilities of containers. Inside a user namespace they reach no further than what that namespace owns.
"""

# The default set of the OCI runtimes, less two:
# MKNOD, which a user namespace does not have anyway: the nodes that a program needs are in /dev;
# AUDIT_WRITE, which counts in the first user namespace only: libaudit takes that for "no audit".
# NET_RAW is for the ping of busybox; what else it is good for the filter of system calls forbids, see there.
CONFINED = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

# by their numbers in linux/capability.h
NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
ALL = tuple(f"CAP_{name}" for name in NAMES)


def names(mask: int) -> tuple[str, ...]:
    """
    The capabilities in a mask, as ``/proc/<pid>/status`` has it; numbers without a name are left out.
    """
    return tuple(name for number, name in enumerate(ALL) if mask >> number & 1)


def mask(names: tuple[str, ...]) -> int:
    """
    The mask of capabilities.
    """
    return sum(1 << ALL.index(name) for name in names)
