"""
The system calls of confined containers, arranged by what they are for.

An allow-list: what is in none of these groups does not exist inside (``ENOSYS``), so a program that tries something
newer goes on with what is older. What is dangerous and known is forbidden (``EPERM``), which programs expect of it.
Names of all processors are here; those that a processor does not have are passed over. Each name makes the start of a
container slower, the time to compile them grows with the square, so nothing is forbidden that may as well not exist.
"""

FILES = """
    access chdir chmod chown chown32 chroot close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
    fgetxattr file_getattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr _llseek
    lremovexattr lseek lsetxattr lstat lstat64 memfd_create mkdir mkdirat mknod mknodat name_to_handle_at newfstatat
    oldfstat oldlstat oldstat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
    readahead readdir readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile
    sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range
    sync_file_range2 arm_sync_file_range arm_fadvise64_64 syncfs tee truncate truncate64 umask unlink unlinkat utime
    utimensat utimensat_time64 utimes vmsplice write writev
"""

MEMORY = """
    brk cachestat madvise map_shadow_stack membarrier memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect
    mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise process_mrelease
    remap_file_pages
"""

PROCESSES = """
    capget capset execve execveat exit exit_group fork getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
    getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit
    getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set landlock_add_rule landlock_create_ruleset
    landlock_restrict_self nice pidfd_getfd pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv
    process_vm_writev ptrace seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit
    setsid setuid setuid32 ugetrlimit vfork wait4 waitid waitpid
"""

THREADS = """
    arch_prctl arm_set_tls breakpoint cacheflush futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
    get_robust_list get_thread_area getcpu riscv_flush_icache riscv_hwprobe rseq sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
    set_robust_list set_thread_area set_tid_address set_tls
"""

SIGNALS = """
    alarm eventfd eventfd2 kill pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal
    signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend tgkill tkill
"""

# reading the clock; setting one takes rights that no container has, and is below
TIME = """
    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times
"""

WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll ppoll
    ppoll_time64 pselect6 pselect6_time64 select
"""

# socket itself depends on its family
SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    send sendmmsg sendmsg sendto setsockopt shutdown socketpair
"""

MESSAGES = """
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""

SYSTEM = """
    getrandom oldolduname olduname sysinfo uname
"""

ALLOWED = tuple(
    sorted({name for group in (FILES, MEMORY, PROCESSES, THREADS, SIGNALS, TIME) for name in group.split()})
) + tuple(sorted({name for group in (WAITING, SOCKETS, MESSAGES, SYSTEM) for name in group.split()}))

# code in the kernel
MODULES = "delete_module finit_module init_module kexec_file_load kexec_load"

# With namespaces of its own a program is root over parts of the kernel that root of the container does not reach, and
# can undo masked paths. clone with such flags is below; clone3 hides its flags in memory, so it does not exist at all,
# and every libc goes on with clone.
NAMESPACES = """
    fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root setns umount
    umount2 unshare
"""

# keyrings belong to users, and not to namespaces: one could read those of another container
KEYS = "add_key keyctl request_key"

# ways to look into the kernel, or to hold it still while it is half done with something: the tools of most exploits
KERNEL = "bpf kcmp perf_event_open syslog userfaultfd"

# io_uring does by itself what the filter would not let a program do, and has had a hole every few months
RINGS = "io_uring_enter io_uring_register io_uring_setup"

# opens a file by its number, whatever folder it is in, that of the host as well
HANDLES = "open_by_handle_at"

# what the whole machine has one of
MACHINE = """
    acct clock_settime clock_settime64 ioperm iopl quotactl quotactl_fd reboot setdomainname sethostname settimeofday
    stime swapoff swapon vhangup
"""

# Besides, without a line here, these do not exist: placing memory on nodes, of which a program then knows that there is
# one (mbind, set_mempolicy); watching files for everybody (fanotify_init), which takes a right that no container has;
# what is older than its replacement and looked after by nobody (uselib, sysfs, vm86), modify_ldt among them, which has
# been a way into the kernel more than once.

# One call for all of a socket's, with its arguments in memory where no filter sees them: it would open what socket may
# not. 32-bit programs whose C library is older than Linux 4.3, or built for older ones, have no sockets therefore.
MULTIPLEXED = "socketcall"

FORBIDDEN = tuple(
    sorted(
        {
            name
            for group in (MODULES, NAMESPACES, KEYS, KERNEL, RINGS, HANDLES, MACHINE, MULTIPLEXED)
            for name in group.split()
        }
    )
)
