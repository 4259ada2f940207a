//! Tests of the whole filter, for every architecture. An interpreter runs its program.

use libc::sock_filter;

use super::architecture::{ALL, Architecture, X86_64};
use super::decision::{ALLOW, Decision, MISSING, REFUSE, fail_with};
use super::interpreter::run;
use super::*;

/// The filter of an architecture.
struct Filter {
    architecture: &'static Architecture,
    program: Vec<sock_filter>,
}

impl Filter {
    fn new(architecture: &'static Architecture) -> Self {
        let program = program::assemble(architecture, &table::decisions());
        Self {
            architecture,
            program,
        }
    }

    fn answer_to_number(&self, number: u32, arguments: [u64; 6]) -> Decision {
        let audit_number = self.architecture.audit_number;
        Decision::Answer(run(&self.program, audit_number, number, arguments).value)
    }

    /// The answer to a call; none if the architecture does not have it.
    fn answer_if_known(&self, name: &str, arguments: [u64; 6]) -> Option<Decision> {
        let calls = (self.architecture.calls)();
        let (number, _) = calls.into_iter().find(|(_, known)| *known == name)?;
        Some(self.answer_to_number(number, arguments))
    }

    fn answer(&self, name: &str, arguments: [u64; 6]) -> Decision {
        self.answer_if_known(name, arguments)
            .unwrap_or_else(|| panic!("no number for {name}"))
    }

    /// The answer to a call whose first arguments are these.
    fn answer_to<const N: usize>(&self, name: &str, first: [i32; N]) -> Decision {
        let mut arguments = [0; 6];
        for (argument, value) in arguments.iter_mut().zip(first) {
            // The kernel ignores the upper half of a 32-bit argument, so it can hold anything.
            *argument = u64::from(value as u32) | 0xdead_0000_0000_0000;
        }
        self.answer(name, arguments)
    }
}

fn filters() -> Vec<Filter> {
    ALL.into_iter().map(Filter::new).collect()
}

/// Asserts the answer to calls with arguments that the filter does not look at. At least one
/// architecture has each call.
fn assert_answers(names: &str, expected: &Decision) {
    let filters = filters();
    for name in names.split_whitespace() {
        let answers = filters
            .iter()
            .filter_map(|filter| filter.answer_if_known(name, [0; 6]));
        let answers: Vec<Decision> = answers.collect();
        assert!(!answers.is_empty(), "no architecture has {name}");
        for answer in answers {
            assert_eq!(answer, *expected, "{name}");
        }
    }
}

#[test]
fn numbers_that_no_table_has_are_missing() {
    for filter in filters() {
        let known: Vec<u32> = (filter.architecture.calls)()
            .into_iter()
            .map(|(number, _)| number)
            .collect();
        let unknown = (0..2000).filter(|number| !known.contains(number));
        let mut count = 0;
        for number in unknown.chain([0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX]) {
            count += 1;
            for arguments in [[0; 6], [u64::MAX; 6]] {
                assert_eq!(
                    filter.answer_to_number(number, arguments),
                    MISSING,
                    "{number}"
                );
            }
        }
        assert!(count > 1500);
    }
}

#[test]
fn calls_without_a_right_are_refused() {
    assert_answers(
        "acct add_key adjtimex bpf clock_adjtime clock_settime delete_module fanotify_init \
         fanotify_mark finit_module fsconfig fsmount fsopen fspick init_module io_uring_enter \
         io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl mount \
         mount_setattr move_mount open_by_handle_at open_tree open_tree_attr perf_event_open \
         pidfd_getfd pivot_root quotactl quotactl_fd reboot request_key setdomainname sethostname \
         setns settimeofday swapoff swapon syslog umount2 userfaultfd vhangup",
        &REFUSE,
    );
}

#[test]
fn calls_with_another_way_are_missing() {
    assert_answers(
        "_sysctl clone3 get_mempolicy io_cancel io_destroy io_getevents io_pgetevents io_setup \
         io_submit lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mbind \
         memfd_secret migrate_pages modify_ldt move_pages nfsservctl process_madvise \
         process_mrelease remap_file_pages set_mempolicy set_mempolicy_home_node uselib vmsplice",
        &MISSING,
    );
}

#[test]
fn ordinary_calls_reach_the_kernel() {
    assert_answers(
        "accept4 arch_prctl bind brk chroot clock_gettime clone close connect copy_file_range dup3 \
         epoll_pwait2 eventfd2 execve execveat exit_group faccessat2 fchmodat2 flock fork fsync \
         futex futex_waitv getdents64 getppid getrandom inotify_add_watch ioctl kill \
         landlock_create_ruleset membarrier memfd_create mmap mprotect mq_open mseal open openat \
         openat2 pidfd_open pidfd_send_signal pkey_alloc prctl process_vm_readv ptrace read \
         renameat2 riscv_hwprobe rseq rt_sigreturn sched_setaffinity seccomp semtimedop sendfile \
         sendmmsg setpriority setresuid shmget signalfd4 splice statx symlinkat timerfd_create \
         unlinkat unshare vfork wait4 waitid write",
        &ALLOW,
    );
}

#[test]
fn namespaces_cannot_be_made_with_any_other_bits_set() {
    for filter in filters() {
        for flag in [
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNS,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUTS,
        ] {
            assert_eq!(filter.answer_to("clone", [flag | libc::SIGCHLD]), REFUSE);
            assert_eq!(filter.answer_to("unshare", [flag]), REFUSE);
            let flag = u64::from(flag.unsigned_abs());
            assert_eq!(filter.answer("unshare", [flag, 0, 0, 0, 0, 0]), REFUSE);
        }
        assert_eq!(filter.answer_to("clone", [libc::SIGCHLD]), ALLOW);
    }
}

#[test]
fn flags_of_unshare_that_no_kernel_has_yet_are_refused() {
    for filter in filters() {
        let unshare = |flags: u64| filter.answer("unshare", [flags, 0, 0, 0, 0, 0]);
        // CLONE_NEWTIME is 0x80. Kernels without further flags fail with EINVAL.
        for flags in [0x80, 0x1, 0x10_0000, 0x8000_0000, 1 << 32, 1 << 63] {
            assert_eq!(unshare(flags), REFUSE, "{flags:#x}");
        }
        let harmless = libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SYSVSEM;
        assert_eq!(unshare(u64::from(harmless.unsigned_abs())), ALLOW);
        assert_eq!(unshare(0), ALLOW);
    }
}

#[test]
fn only_common_socket_families_exist() {
    for filter in filters() {
        let socket = |family| filter.answer_to("socket", [family, libc::SOCK_STREAM, 0]);
        assert_eq!(socket(libc::AF_INET), ALLOW);
        assert_eq!(socket(libc::AF_UNIX), ALLOW);
        assert_eq!(socket(libc::AF_VSOCK), REFUSE);
        assert_eq!(socket(libc::AF_ALG), REFUSE);
        assert_eq!(socket(libc::AF_PACKET), REFUSE);
        for family in (0..64).chain([i32::MAX, -1]) {
            let known = [
                libc::AF_UNIX,
                libc::AF_INET,
                libc::AF_INET6,
                libc::AF_NETLINK,
                libc::AF_VSOCK,
                libc::AF_ALG,
                libc::AF_PACKET,
            ];
            if !known.contains(&family) {
                assert_eq!(socket(family), fail_with(Errno::AFNOSUPPORT), "{family}");
            }
        }
    }
}

#[test]
fn internet_sockets_are_of_known_types_and_protocols() {
    const DCCP: i32 = 33;
    const L2TP: i32 = 115;
    const SMC: i32 = 256;
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    for filter in filters() {
        for (family, echo) in [
            (libc::AF_INET, libc::IPPROTO_ICMP),
            (libc::AF_INET6, libc::IPPROTO_ICMPV6),
        ] {
            let socket = |kind, protocol| filter.answer_to("socket", [family, kind, protocol]);
            for kind in [libc::SOCK_STREAM, libc::SOCK_STREAM | flags] {
                assert_eq!(socket(kind, 0), ALLOW);
                assert_eq!(socket(kind, libc::IPPROTO_TCP), ALLOW);
            }
            for kind in [libc::SOCK_DGRAM, libc::SOCK_DGRAM | flags] {
                assert_eq!(socket(kind, 0), ALLOW);
                assert_eq!(socket(kind, libc::IPPROTO_UDP), ALLOW);
                assert_eq!(socket(kind, echo), ALLOW);
            }
            for protocol in [DCCP, L2TP, SMC, libc::IPPROTO_SCTP, libc::IPPROTO_MPTCP, -1] {
                let unknown = fail_with(Errno::PROTONOSUPPORT);
                assert_eq!(socket(libc::SOCK_STREAM, protocol), unknown, "{protocol}");
                assert_eq!(socket(libc::SOCK_DGRAM | flags, protocol), unknown);
            }
            // SOCK_PACKET is 10: AF_INET with it is another name of AF_PACKET.
            for kind in [libc::SOCK_RAW, libc::SOCK_RAW | flags, 10, 10 | flags] {
                assert_eq!(socket(kind, 0), REFUSE, "{kind}");
            }
            for kind in [libc::SOCK_SEQPACKET, libc::SOCK_RDM, 6, 7, 15] {
                let unknown = fail_with(Errno::SOCKTNOSUPPORT);
                assert_eq!(socket(kind, 0), unknown, "{kind}");
                assert_eq!(socket(kind | flags, libc::IPPROTO_SCTP), unknown);
            }
        }
    }
}

#[test]
fn netlink_reaches_only_addresses_sockets_and_events() {
    for filter in filters() {
        for protocol in 0..32 {
            let answer = filter.answer_to("socket", [libc::AF_NETLINK, libc::SOCK_RAW, protocol]);
            let allowed = [
                libc::NETLINK_ROUTE,
                libc::NETLINK_SOCK_DIAG,
                libc::NETLINK_KOBJECT_UEVENT,
            ];
            if allowed.contains(&protocol) {
                assert_eq!(answer, ALLOW, "{protocol}");
            } else {
                assert_eq!(answer, fail_with(Errno::PROTONOSUPPORT), "{protocol}");
            }
        }
    }
}

#[test]
fn only_unix_sockets_come_in_pairs() {
    for filter in filters() {
        let pair = |family| filter.answer_to("socketpair", [family, libc::SOCK_STREAM, 0]);
        assert_eq!(pair(libc::AF_UNIX), ALLOW);
        assert_eq!(pair(libc::AF_INET), fail_with(Errno::OPNOTSUPP));
        assert_eq!(pair(libc::AF_TIPC), fail_with(Errno::AFNOSUPPORT));
    }
}

#[test]
fn a_personality_changes_only_names_and_addresses() {
    for filter in filters() {
        let personality = |value: u32| filter.answer_to("personality", [value as i32]);
        for value in [0, 8, 0x2_0000, 0x2_0008, 0x4_0000, 0x4_0008, u32::MAX] {
            assert_eq!(personality(value), ALLOW, "{value:#x}");
        }
        // READ_IMPLIES_EXEC, MMAP_PAGE_ZERO, and the personalities of other systems.
        for value in [0x40_0000, 0x10_0000, 1, 6, 0x44_0000, u32::MAX - 1] {
            assert_eq!(personality(value), REFUSE, "{value:#x}");
        }
    }
}

#[test]
fn pid_1_cannot_be_limited_or_rescheduled() {
    for filter in filters() {
        for name in [
            "prlimit64",
            "sched_setaffinity",
            "sched_setattr",
            "sched_setparam",
            "sched_setscheduler",
        ] {
            assert_eq!(filter.answer_to(name, [1]), REFUSE, "{name}");
            assert_eq!(filter.answer_to(name, [0]), ALLOW, "{name}");
        }
        for name in ["setpriority", "ioprio_set"] {
            assert_eq!(filter.answer_to(name, [0, 1]), REFUSE, "{name}");
            assert_eq!(filter.answer_to(name, [1, 0]), ALLOW, "{name}");
        }
    }
}

#[test]
fn requests_to_devices_push_no_input_and_load_no_module() {
    for filter in filters() {
        let ioctl = |request| filter.answer_to("ioctl", [0, request]);
        // TIOCSTI, TIOCLINUX, TIOCSETD, SIOCGIFBR and SIOCGIFVLAN.
        for request in [0x5412, 0x541c, 0x5423, 0x8940, 0x8982] {
            assert_eq!(ioctl(request), REFUSE, "{request:#x}");
        }
        // TCGETS and SIOCGIFCONF.
        for request in [0x5401, 0x8912] {
            assert_eq!(ioctl(request), ALLOW, "{request:#x}");
        }
    }
}

#[test]
fn other_architectures_have_no_system_calls() {
    // i386, and arm with 32 bits.
    let others = [0x4000_0003, 0x4000_0028];
    for filter in filters() {
        let native = filter.architecture.audit_number;
        let all = ALL.map(|architecture| architecture.audit_number);
        for other in others.into_iter().chain(all).filter(|n| *n != native) {
            for number in 0..500 {
                let answer = run(&filter.program, other, number, [0; 6]).value;
                assert_eq!(Decision::Answer(answer), MISSING, "{other:#x} {number}");
            }
        }
    }
    // x32 has the number of x86-64, and a flag in the number of the call.
    let filter = Filter::new(&X86_64);
    for number in 0..600 {
        let answer = filter.answer_to_number(0x4000_0000 + number, [0; 6]);
        assert_eq!(answer, MISSING, "{number}");
    }
}

/// A linear list would run through half of its few hundred tests for an average call.
#[test]
fn the_program_is_small_and_every_answer_is_near() {
    for filter in filters() {
        let length = filter.program.len();
        assert!(length < 1000, "{length} instructions");
        let audit_number = filter.architecture.audit_number;
        for number in 0..1000 {
            let steps = run(&filter.program, audit_number, number, [u64::MAX; 6]).steps;
            assert!(steps <= 24, "call {number} takes {steps} steps");
        }
    }
}
