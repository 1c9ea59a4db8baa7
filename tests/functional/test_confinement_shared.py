"""
What tests of confinement have in common: containers of an image with a program in it that tries what a hostile one
would.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from errno import EACCES, EPERM
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from tests.functional.containers import ContainerTestCase, image
from tests.functional.shared import missing

REFUSED = {EACCES, EPERM}

# Prints a line an attempt: what it was, and the number of the error that it ended with; 0 if it went well.
PROBE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, long result) {
    printf("%s %d\n", what, result < 0 ? errno : 0);
    fflush(stdout);
}

static const char *path_of(const char *pid, const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    return path;
}

static void look_into(const char *pid) {
    const char *files[] = {"auxv", "environ", "exe", "maps", "mem", "ns/mnt", "numa_maps", "pagemap",
                           "personality", "smaps", "stack", "syscall", "fd/3", "cwd/etc", "root/etc", "io", NULL};
    const char *folders[] = {"fd", "fdinfo", "map_files", "cwd", "root", NULL};
    const char *writable[] = {"mem", "oom_score_adj", "clear_refs", "coredump_filter", "exe", NULL};
    char buffer[256], name[64];
    for (int i = 0; files[i]; i++) {
        int fd = open(path_of(pid, files[i]), O_RDONLY);
        if (fd >= 0 && i == 15) fd = read(fd, buffer, sizeof buffer); /* io is looked at when it is read */
        tell(files[i], fd);
    }
    for (int i = 0; writable[i]; i++) {
        snprintf(name, sizeof name, "write %s", writable[i]);
        tell(name, open(path_of(pid, writable[i]), O_WRONLY));
    }
    for (int i = 0; folders[i]; i++) {
        snprintf(name, sizeof name, "list %s", folders[i]);
        DIR *found = opendir(path_of(pid, folders[i]));
        tell(name, found ? 0 : -1);
    }
    snprintf(name, sizeof name, "task/%s/mem", pid);
    tell("task mem", open(path_of(pid, name), O_RDWR));
    tell("link of exe", readlink(path_of(pid, "exe"), buffer, sizeof buffer));
    tell("link of fd", readlink(path_of(pid, "fd/3"), buffer, sizeof buffer));
    tell("run exe", execl(path_of(pid, "exe"), "exe", "-c", "print(0)", NULL));
}

static void trace(const char *text) {
    pid_t pid = atoi(text);
    char name[64];
    long word = 0;
    struct iovec here = {&word, sizeof word}, there = {(void *)0x400000, sizeof word};
    tell("attach", ptrace(PTRACE_ATTACH, pid, 0, 0));
    tell("seize", ptrace(PTRACE_SEIZE, pid, 0, 0));
    tell("readv", syscall(SYS_process_vm_readv, pid, &here, 1, &there, 1, 0));
    tell("writev", syscall(SYS_process_vm_writev, pid, &here, 1, &there, 1, 0));
    int fd = syscall(SYS_pidfd_open, pid, 0);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "getfd %d", i);
        tell(name, syscall(SYS_pidfd_getfd, fd, i, 0));
    }
    tell("kcmp", syscall(SYS_kcmp, pid, getpid(), 0, 0, 0));
    tell("madvise", syscall(SYS_process_madvise, fd, &there, 1, MADV_COLD, 0));
}

static int nothing(void *unused) { return unused != NULL; }

static void ask_kernel(void) {
    static char stack[65536], big[256];
    union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event};
    tell("mount tmpfs", mount("none", "/data", "tmpfs", 0, ""));
    tell("mount proc", mount("proc", "/data", "proc", 0, ""));
    tell("remount sys", mount("none", "/sys", NULL, MS_REMOUNT, ""));
    tell("bind", mount("/proc", "/data", NULL, MS_BIND | MS_REC, ""));
    tell("unmount", umount2("/proc/sys", MNT_DETACH));
    tell("unmount masked", umount2("/proc/keys", MNT_DETACH));
    tell("pivot_root", syscall(SYS_pivot_root, "/data", "/data"));
    tell("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    tell("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    tell("unshare user", unshare(CLONE_NEWUSER));
    tell("unshare mount", unshare(CLONE_NEWNS));
    tell("unshare network", unshare(CLONE_NEWNET));
    tell("unshare cgroup", unshare(CLONE_NEWCGROUP));
    tell("clone user", clone(nothing, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, NULL));
    tell("clone3", syscall(SYS_clone3, big, 64));
    int own = open("/proc/self/ns/mnt", O_RDONLY);
    tell("setns", setns(own, 0));
    tell("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes));
    tell("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
    tell("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    tell("add_key", syscall(SYS_add_key, "user", "name", "x", 1, -4));
    tell("request_key", syscall(SYS_request_key, "user", "name", NULL, 0));
    tell("io_uring", syscall(SYS_io_uring_setup, 1, big));
    tell("userfaultfd", syscall(SYS_userfaultfd, 0));
    tell("syslog", syscall(SYS_syslog, 3, big, sizeof big));
    tell("open_by_handle", syscall(SYS_open_by_handle_at, AT_FDCWD, big, 0));
    tell("init_module", syscall(SYS_init_module, big, sizeof big, ""));
    tell("finit_module", syscall(SYS_finit_module, own, "", 0));
    tell("kexec", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    tell("swapon", syscall(SYS_swapon, "/data/owned", 0));
    tell("reboot", syscall(SYS_reboot, 0, 0, 0, NULL));
    tell("sethostname", sethostname("other", 5));
    tell("settime", syscall(SYS_settimeofday, NULL, NULL));
    tell("quotactl", syscall(SYS_quotactl, 0, NULL, 0, NULL));
    tell("iopl", syscall(SYS_iopl, 3));
    tell("ioperm", syscall(SYS_ioperm, 0, 1, 1));
    tell("packet", socket(AF_PACKET, SOCK_RAW, 0));
    tell("raw", socket(AF_INET6, SOCK_RAW, 58));
    tell("vsock", socket(40, SOCK_STREAM, 0));
    tell("alg", socket(AF_ALG, SOCK_SEQPACKET, 0));
    tell("block device", mknod("/data/disk", S_IFBLK | 0666, makedev(254, 0)));
    tell("character device", mknod("/data/mem", S_IFCHR | 0666, makedev(1, 1)));
    tell("raise limits", setrlimit(RLIMIT_CORE, &(struct rlimit){1 << 20, 1 << 20}));
    tell("kcore", open("/dev/core", O_RDONLY));
    tell("sysrq", open("/proc/sysrq-trigger", O_WRONLY));
    tell("core_pattern", open("/proc/sys/kernel/core_pattern", O_WRONLY));
    tell("modprobe", open("/proc/sys/kernel/modprobe", O_WRONLY));
    tell("write init", open("/dev/core0-init", O_WRONLY));
    tell("remove init", unlink("/dev/core0-init"));
    tell("mkdir in cgroup", mkdir("/sys/fs/cgroup/pids/mine", 0755));
    tell("release_agent", open("/sys/fs/cgroup/pids/release_agent", O_WRONLY));
    tell("pids.max", open("/sys/fs/cgroup/pids/pids.max", O_WRONLY));
    tell("cgroup.procs", open("/sys/fs/cgroup/pids/cgroup.procs", O_WRONLY));
}

#ifdef __x86_64__
static long old_call(long number, long first, long second) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(0) : "memory");
    return result;
}

/* in a process of its own, since it may be killed for it */
static void at_door(const char *name, int old, long number, long first, long second) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        errno = 0;
        long result = old ? old_call(number, first, second) : syscall(0x40000000 | number, first, second, 0, 0, 0);
        _exit(result >= 0 ? 0 : old ? -result : errno);
    }
    waitpid(pid, &status, 0);
    printf("%s %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : EPERM);
    fflush(stdout);
}

static void other_doors(void) {
    at_door("x32 mount", 0, 165, 0, 0);
    at_door("x32 unshare", 0, 272, CLONE_NEWUSER, 0);
    at_door("32-bit mount", 1, 21, 0, 0);
    at_door("32-bit unshare", 1, 310, CLONE_NEWUSER, 0);
    at_door("32-bit clone", 1, 120, CLONE_NEWUSER | SIGCHLD, 0);
    at_door("32-bit setns", 1, 346, 0, 0);
    at_door("32-bit socketcall", 1, 102, 1, 0);
    at_door("32-bit vsock", 1, 359, 40, SOCK_STREAM);
    at_door("32-bit keyctl", 1, 288, 0, -3);
    at_door("32-bit bpf", 1, 357, 0, 0);
    at_door("32-bit io_uring", 1, 425, 1, 0);
}
#else
static void other_doors(void) {}
#endif

/* tells what a socket is that could be had: its family and type, as one number */
static void had(const char *door, int family, int type, int protocol, long fd) {
    int domain = 0, kind = 0;
    socklen_t size = sizeof domain;
    if (fd < 0) return;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size);
    printf("%s:%d:%d:%d %d\n", door, family, type, protocol, 100 * domain + kind);
    fflush(stdout);
    close(fd);
}

static long by_door(int door, long family, long type, long protocol) {
    if (door == 0) return syscall(SYS_socket, family, type, protocol);
#ifdef __x86_64__
    if (door == 1) return syscall(0x40000000 | SYS_socket, family, type, protocol);
    long result;
    if (door == 2) {
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(359), "b"(family), "c"(type), "d"(protocol) : "memory");
        return result;
    }
    static unsigned *words; /* where a 32-bit call can point to */
    if (!words) words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    words[0] = family, words[1] = type, words[2] = protocol;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(102), "b"(1), "c"(words) : "memory");
    return result;
#else
    return -1;
#endif
}

/* each family, type and protocol, by each way into the kernel; with bits set in what it does not look at */
static void all_sockets(void) {
    const char *doors[] = {"native", "x32", "32-bit", "socketcall"};
    const int protocols[] = {0, 1, 6, 17, 58, 255, 0x0300};
    for (int door = 0; door < 4; door++)
        for (int family = 0; family < 48; family++) {
            int status;
            pid_t pid = fork(); /* it may be killed for it */
            if (pid) {
                waitpid(pid, &status, 0);
                continue;
            }
            for (int type = 0; type < 32; type++)
                for (int each = 0; each < 7; each++) {
                    int kind = type < 16 ? type : (type - 16) | SOCK_CLOEXEC | SOCK_NONBLOCK;
                    long upper = door < 2 && each % 2 ? 0x100000000 : 0;
                    had(doors[door], family, kind, protocols[each],
                        by_door(door, family, upper | kind, protocols[each]));
                }
            _exit(0);
        }
}

static int open_for_writing(const char *path, const struct stat *found, int kind, struct FTW *place) {
    (void)place;
    if (kind == FTW_F && !S_ISLNK(found->st_mode)) {
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
        if (fd >= 0) {
            tell(path, 0);
            close(fd);
        }
    }
    return 0;
}

static int reach(const char *name, size_t length) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, name, length);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int result = connect(fd, (void *)&address, offsetof(struct sockaddr_un, sun_path) + length);
    close(fd);
    return result;
}

static void reach_abstract(const char *text) {
    char name[108] = "";
    strncpy(name + 1, text, sizeof name - 1);
    tell("abstract", reach(name, strlen(text) + 1));
}

static void leave_root(void) {
    mkdir("/tmp/jail", 0755);
    tell("chroot", chroot("/tmp/jail"));
    for (int i = 0; i < 100; i++)
        if (chdir("..")) break;
    tell("root again", chroot("."));
    tell("container", access("/data/owned", F_OK));
    tell("host", access("/etc/debian_version", F_OK));
}

static void stop(const char *pid) { tell("stop", kill(atoi(pid), SIGSTOP)); }

static void deep(int levels) {
    char name[256];
    memset(name, 'n', 255);
    name[255] = 0;
    int done = 0, flags = 0x10; /* FS_IMMUTABLE_FL */
    if (chdir("/data")) return;
    for (; done < levels; done++)
        if (mkdir(name, 0000) || chmod(name, 0700) || chdir(name)) break;
    printf("levels %d\n", done);
    int fd = open("last", O_CREAT | O_RDWR, 0);
    tell("immutable", syscall(SYS_ioctl, fd, 0x40086602, &flags));
    if (symlink("/", "root") || link("last", "again") || mkfifo("fifo", 0600)) tell("odd files", -1);
}

static void many(int files) {
    char name[64];
    int done = 0;
    if (mkdir("/data/many", 0755) || chdir("/data/many")) return;
    for (; done < files; done++) {
        snprintf(name, sizeof name, "%d", done);
        if (mknod(name, S_IFREG | 0600, 0)) break;
    }
    printf("files %d\n", done);
}

static void eat(void) {
    for (;;) {
        char *piece = malloc(1 << 20);
        if (!piece) break;
        memset(piece, 1, 1 << 20);
    }
    tell("all eaten", -1);
}

static void bomb(void) {
    int forked = 0;
    for (; forked < 100000; forked++) {
        pid_t pid = fork();
        if (pid < 0) break;
        if (pid == 0) for (;;) pause();
    }
    printf("forked %d\n", forked);
    fflush(stdout);
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    if (!strcmp(what, "look")) look_into(words[2]);
    else if (!strcmp(what, "trace")) trace(words[2]);
    else if (!strcmp(what, "kernel")) ask_kernel();
    else if (!strcmp(what, "doors")) other_doors();
    else if (!strcmp(what, "sockets")) all_sockets();
    else if (!strcmp(what, "writable")) for (int i = 2; i < count; i++) nftw(words[i], open_for_writing, 32, FTW_PHYS);
    else if (!strcmp(what, "path")) tell("path", reach(words[2], strlen(words[2]) + 1));
    else if (!strcmp(what, "abstract")) reach_abstract(words[2]);
    else if (!strcmp(what, "leave")) leave_root();
    else if (!strcmp(what, "stop")) stop(words[2]);
    else if (!strcmp(what, "deep")) deep(atoi(words[2]));
    else if (!strcmp(what, "many")) many(atoi(words[2]));
    else if (!strcmp(what, "eat")) eat();
    else if (!strcmp(what, "bomb")) bomb();
    else if (!strcmp(what, "ids")) { setuid(0); printf("uid %d\neuid %d\n", getuid(), geteuid()); }
    else return 2;
    return 0;
}
"""


@cache
def probe() -> bytes:
    """
    The program, which needs nothing of the image that it is in.
    """
    if shutil.which("gcc") is None:
        raise missing("needs gcc and libc6-dev")
    return compiled("gcc", PROBE)


def compiled(compiler: str, text: str, *options: str) -> bytes:
    """
    A C program; without options a static one.
    """
    with tempfile.TemporaryDirectory(prefix="core0-probe-") as folder:
        source, program = Path(folder) / "program.c", Path(folder) / "program"
        source.write_text(text)
        command = [compiler, *(options or ("-static",)), "-O1", "-w", "-o", str(program), str(source)]
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode:
            raise missing(f"needs a {compiler} that works: {done.stderr.decode(errors='replace')[-500:]}")
        return program.read_bytes()


class ConfinementCase(ContainerTestCase):
    """
    Tests that attack from inside of a container.

    :cvar files: what is in its image besides, by path.
    """

    files: ClassVar[Mapping[str, bytes]] = {}

    @classmethod
    def setUpClass(cls) -> None:
        """
        An image with the probe.
        """
        super().setUpClass()
        try:
            cls.plist = image().variant(cls.daemon.folder, {"bin/probe": probe(), **cls.files})
        except BaseException:
            cls.tearDownClass()
            raise

    plist: ClassVar[str]

    def confined(self, **arguments: Any) -> int:
        """
        A container with the probe; gives its number.
        """
        return self.create(**{"plist": self.plist, **arguments})

    def probed(self, number: int, *words: object, **fields: Any) -> dict[str, int]:
        """
        What became of each attempt of the probe: the number of its error.
        """
        result = self.inside(number, "core.system", {"name": "/bin/probe", "args": list(map(str, words))}, **fields)
        self.assertEqual("SUCCESS", result["state"], result)
        lines = [line.rpartition(" ") for line in result["streams"][0].splitlines()]
        return {name: int(error) for name, _, error in lines}

    def assert_all_refused(self, found: Mapping[str, int], *, also: Mapping[str, int] | None = None) -> None:
        """
        Each attempt ended with "not permitted", or the way that ``also`` says.
        """
        allowed = also or {}
        wrong = {
            name: os.strerror(error) if error else "went well"
            for name, error in found.items()
            if error not in REFUSED and error != allowed.get(name)
        }
        self.assertEqual({}, wrong)

    def inner_corex(self, number: int) -> int:
        """
        The pid of the CoreX as the container sees it.
        """
        text = Path(f"/proc/{self.corex_of(number)}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith("NSpid:"))
        return int(line.split()[-1])
