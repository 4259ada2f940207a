//! The decision about each system call, by name.
//!
//! Calls that are not in the table are missing, and so are the calls of future kernels. The table
//! is one for all architectures: each takes the names that it has.

use std::collections::HashMap;

use super::arguments;
use super::decision::{ALLOW, Decision, MISSING, REFUSE};

enum Verdict {
    Allow,
    /// The call fails with EPERM.
    Refuse,
    /// The call fails with ENOSYS. Programs that use it have another way then.
    Missing,
    /// The arguments decide.
    Check(fn() -> Decision),
}
use Verdict::{Allow, Check, Missing, Refuse};

const TABLE: &[(Verdict, &str)] = &[
    // Files and directories.
    (
        Allow,
        "access chdir chmod chown chroot close close_range copy_file_range creat dup dup2 \
         dup3 faccessat faccessat2 fadvise64 fchdir fchmod fchmodat fchmodat2 fchown fchownat \
         fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatat \
         fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat \
         inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr link \
         linkat listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat mkdir \
         mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 \
         preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv \
         removexattr removexattrat rename renameat renameat2 rmdir sendfile setxattr \
         setxattrat splice stat statfs statx symlink symlinkat sync sync_file_range syncfs \
         tee truncate umask unlink unlinkat utime utimensat utimes write writev",
    ),
    // Memory.
    (
        Allow,
        "brk madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall \
         mmap mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free \
         pkey_mprotect",
    ),
    // Processes, threads and users.
    (
        Allow,
        "arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue \
         futex_wait futex_waitv futex_wake get_robust_list getegid geteuid getgid getgroups \
         getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage \
         getsid gettid getuid ioprio_get landlock_add_rule landlock_create_ruleset \
         landlock_restrict_self pidfd_open pidfd_send_signal prctl rseq \
         sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr \
         sched_getparam sched_getscheduler sched_rr_get_interval sched_yield seccomp \
         set_robust_list set_tid_address setfsgid setfsuid setgid setgroups setpgid setregid \
         setresgid setresuid setreuid setrlimit setsid setuid vfork wait4 waitid",
    ),
    // Debuggers. pid 1 is not dumpable, so these do not reach it.
    (Allow, "process_vm_readv process_vm_writev ptrace"),
    // Signals, clocks and waiting.
    (
        Allow,
        "alarm clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 \
         epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 getitimer \
         gettimeofday kill nanosleep pause poll ppoll pselect6 restart_syscall rt_sigaction \
         rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend \
         rt_sigtimedwait rt_tgsigqueueinfo select setitimer sigaltstack signalfd signalfd4 \
         tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime \
         timerfd_create timerfd_gettime timerfd_settime times tkill",
    ),
    // Communication. Every kind of it is part of a namespace.
    (
        Allow,
        "accept accept4 bind connect getpeername getsockname getsockopt listen mq_getsetattr \
         mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd \
         pipe pipe2 recvfrom recvmmsg recvmsg semctl semget semop semtimedop sendmmsg sendmsg \
         sendto setsockopt shmat shmctl shmdt shmget shutdown",
    ),
    // The machine and its processor. uprobe and uretprobe belong to probes that the machine's root
    // sets in programs. Elsewhere they fail.
    (
        Allow,
        "getcpu getrandom riscv_flush_icache riscv_hwprobe sysinfo uname uprobe uretprobe",
    ),
    // Calls that are harmless with most arguments.
    (Check(arguments::clone), "clone"),
    (Check(arguments::ioctl), "ioctl"),
    (Check(arguments::personality), "personality"),
    (Check(arguments::socket), "socket"),
    (Check(arguments::socketpair), "socketpair"),
    (Check(arguments::unshare), "unshare"),
    (
        Check(arguments::not_pid_1_as_first),
        "prlimit64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler",
    ),
    (
        Check(arguments::not_pid_1_as_second),
        "ioprio_set setpriority",
    ),
    // If the writable layer has a limit, another filter comes first: see `allocating_calls`.
    (Allow, "fallocate"),
    // Mounts, namespaces, and files by handle.
    (
        Refuse,
        "fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_by_handle_at \
         open_tree open_tree_attr pivot_root setns umount2",
    ),
    // The machine: its modules, clocks, names, terminals, swap and ports.
    (
        Refuse,
        "acct adjtimex clock_adjtime clock_settime delete_module finit_module init_module \
         ioperm iopl kexec_file_load kexec_load quotactl quotactl_fd reboot setdomainname \
         sethostname settimeofday swapoff swapon syslog vhangup",
    ),
    // Parts of the kernel that are large, and that no ordinary program needs.
    (
        Refuse,
        "add_key bpf fanotify_init fanotify_mark io_uring_enter io_uring_register \
         io_uring_setup keyctl perf_event_open request_key userfaultfd",
    ),
    // Descriptors of other processes.
    (Refuse, "kcmp pidfd_getfd"),
    // A filter cannot see the flags of clone3, which are in memory. C libraries fall back to clone.
    (Missing, "clone3"),
    // All sandboxes and the machine share one number of contexts (fs.aio-max-nr). Databases use
    // threads instead.
    (
        Missing,
        "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit",
    ),
    // Placement of memory on nodes, and memory of other processes. Libraries do without it.
    (
        Missing,
        "get_mempolicy mbind migrate_pages move_pages process_madvise process_mrelease \
         set_mempolicy set_mempolicy_home_node",
    ),
    // Calls that kernels may lack, or that few programs know. All of these have another way.
    (
        Missing,
        "cachestat file_getattr file_setattr listmount lsm_get_self_attr lsm_list_modules \
         lsm_set_self_attr memfd_secret modify_ldt remap_file_pages statmount sysfs ustat \
         vmsplice",
    ),
    // Calls that kernels have removed, or never had.
    (
        Missing,
        "_sysctl afs_syscall create_module epoll_ctl_old epoll_wait_old get_kernel_syms \
         get_thread_area getpmsg lookup_dcookie nfsservctl putpmsg query_module security \
         set_thread_area tuxcall uselib vserver",
    ),
    // Calls of 32-bit programs.
    (
        Missing,
        "clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 \
         clock_settime64 futex_time64 io_pgetevents_time64 mq_timedreceive_time64 \
         mq_timedsend_time64 ppoll_time64 pselect6_time64 recvmmsg_time64 \
         rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 \
         timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64",
    ),
];

/// The decision about each call of the table.
pub(super) fn decisions() -> HashMap<&'static str, Decision> {
    let rows = TABLE.iter().flat_map(|(verdict, names)| {
        names.split_whitespace().map(move |name| {
            let decision = match verdict {
                Allow => ALLOW,
                Refuse => REFUSE,
                Missing => MISSING,
                Check(decision) => decision(),
            };
            (name, decision)
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::architecture;
    use super::*;

    fn names() -> Vec<&'static str> {
        let names = TABLE.iter().flat_map(|(_, names)| names.split_whitespace());
        names.collect()
    }

    /// A new version of the list of calls fails this test until someone has judged its new calls.
    #[test]
    fn every_call_of_every_architecture_is_in_the_table() {
        let table: BTreeSet<&str> = names().into_iter().collect();
        let calls: BTreeSet<&str> = architecture::ALL
            .iter()
            .flat_map(|architecture| (architecture.calls)())
            .map(|(_, name)| name)
            .collect();
        let without: Vec<_> = calls.difference(&table).collect();
        assert!(without.is_empty(), "add to the table: {without:?}");
        let unknown: Vec<_> = table.difference(&calls).collect();
        assert!(unknown.is_empty(), "no architecture has: {unknown:?}");
    }

    #[test]
    fn no_call_is_in_the_table_twice() {
        let mut seen = BTreeSet::new();
        for name in names() {
            assert!(seen.insert(name), "{name} is in the table twice");
        }
    }
}
