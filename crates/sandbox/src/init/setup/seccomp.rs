//! The system call filter: it refuses calls that no command needs, and calls that affect pid 1.
//!
//! Capabilities and namespaces refuse most of these calls too. The filter is a second barrier and
//! keeps bugs of whole kernel subsystems out of reach. System calls of other architectures fail
//! with ENOSYS, as on a machine without them.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};
use rustix::io::Errno;

use crate::os::sys;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xc000_00f3;

/// The flag of x32 call numbers, which some x86 kernels accept and the rules below do not cover.
const X32: u32 = 0x4000_0000;

/// Calls that are refused with any arguments.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    // open_tree_attr, with the same number on every architecture.
    467,
];

#[cfg(target_arch = "x86_64")]
const DENIED_ON_ARCHITECTURE: &[libc::c_long] = &[
    libc::SYS__sysctl,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_ON_ARCHITECTURE: &[libc::c_long] = &[];

/// All CLONE_NEW… flags that do not overlap clone's signal number.
const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
const CLONE_NEWTIME: u32 = 0x80;

/// A test of the lower half of an argument. All arguments tested here are 32 bits wide.
enum ArgumentTest {
    Equal(u32),
    AnyBit(u32),
}

/// A rule for a system call that depends on one argument. The first matching test decides. If none
/// matches, `otherwise` applies.
struct SyscallRule {
    call: libc::c_long,
    argument: u32,
    tests: Vec<(ArgumentTest, u32)>,
    otherwise: u32,
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

const fn refuse(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

const REFUSE: u32 = refuse(libc::EPERM);

fn rules() -> Vec<SyscallRule> {
    let rule = |call, argument, tests: Vec<(ArgumentTest, u32)>, otherwise| SyscallRule {
        call,
        argument,
        tests,
        otherwise,
    };
    // The kernel allows these on any process of the same uid, so pid 1 must be protected.
    let on_pid_1 = |call, argument| {
        rule(
            call,
            argument,
            vec![(ArgumentTest::Equal(1), REFUSE)],
            ALLOW,
        )
    };
    let family = |family: i32, action| (ArgumentTest::Equal(family.unsigned_abs()), action);
    let unsupported_family = refuse(libc::EAFNOSUPPORT);
    vec![
        rule(
            libc::SYS_clone,
            0,
            vec![(ArgumentTest::AnyBit(NAMESPACE_FLAGS), REFUSE)],
            ALLOW,
        ),
        rule(
            libc::SYS_unshare,
            0,
            vec![(
                ArgumentTest::AnyBit(NAMESPACE_FLAGS | CLONE_NEWTIME),
                REFUSE,
            )],
            ALLOW,
        ),
        rule(
            libc::SYS_socket,
            0,
            vec![
                family(libc::AF_UNIX, ALLOW),
                family(libc::AF_INET, ALLOW),
                family(libc::AF_INET6, ALLOW),
                family(libc::AF_NETLINK, ALLOW),
                family(libc::AF_VSOCK, REFUSE),
                family(libc::AF_ALG, REFUSE),
                family(libc::AF_PACKET, REFUSE),
            ],
            unsupported_family,
        ),
        rule(
            libc::SYS_ioctl,
            1,
            vec![
                (ArgumentTest::Equal(libc::TIOCSTI as u32), REFUSE),
                (ArgumentTest::Equal(libc::TIOCLINUX as u32), REFUSE),
            ],
            ALLOW,
        ),
        on_pid_1(libc::SYS_prlimit64, 0),
        on_pid_1(libc::SYS_sched_setaffinity, 0),
        on_pid_1(libc::SYS_sched_setattr, 0),
        on_pid_1(libc::SYS_sched_setparam, 0),
        on_pid_1(libc::SYS_sched_setscheduler, 0),
        on_pid_1(libc::SYS_setpriority, 1),
        on_pid_1(libc::SYS_ioprio_set, 1),
    ]
}

/// Installs the filter for this process and its children. It needs CAP_SYS_ADMIN. The alternative,
/// no_new_privs, would disable set-user-id programs.
pub(crate) fn install() -> Result<(), Errno> {
    sys::install_filter(&program())
}

fn program() -> Vec<sock_filter> {
    let mut code = BpfProgram::default();
    code.load(offset_of_architecture());
    code.jump(BPF_JEQ, ARCHITECTURE, 1, 0);
    code.return_value(refuse(libc::ENOSYS));
    code.load(offset_of_number());
    if cfg!(target_arch = "x86_64") {
        code.return_if(BPF_JGE, X32, refuse(libc::ENOSYS));
    }
    for &call in DENIED.iter().chain(DENIED_ON_ARCHITECTURE) {
        code.return_if(BPF_JEQ, number(call), REFUSE);
    }
    // A filter cannot see clone3's flags, which are in memory. C libraries fall back to clone.
    code.return_if(BPF_JEQ, number(libc::SYS_clone3), refuse(libc::ENOSYS));
    for rule in rules() {
        let length = u8::try_from(2 + 2 * rule.tests.len()).unwrap_or(u8::MAX);
        code.jump(BPF_JEQ, number(rule.call), 0, length);
        code.load(offset_of_argument(rule.argument));
        for (test, action) in rule.tests {
            match test {
                ArgumentTest::Equal(value) => code.return_if(BPF_JEQ, value, action),
                ArgumentTest::AnyBit(bits) => code.return_if(BPF_JSET, bits, action),
            }
        }
        code.return_value(rule.otherwise);
    }
    code.return_value(ALLOW);
    code.0
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

// struct seccomp_data: number, architecture, instruction pointer (8 bytes), and six arguments (8
// bytes each, lower half first).
fn offset_of_number() -> u32 {
    0
}
fn offset_of_architecture() -> u32 {
    4
}
fn offset_of_argument(index: u32) -> u32 {
    16 + 8 * index
}

#[derive(Default)]
struct BpfProgram(Vec<sock_filter>);

impl BpfProgram {
    fn push(&mut self, code: u32, k: u32, jt: u8, jf: u8) {
        self.0.push(sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        });
    }

    fn load(&mut self, offset: u32) {
        self.push(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
    }

    fn jump(&mut self, test: u32, value: u32, skip_if_true: u8, skip_if_false: u8) {
        self.push(BPF_JMP | test | BPF_K, value, skip_if_true, skip_if_false);
    }

    fn return_if(&mut self, test: u32, value: u32, action: u32) {
        self.jump(test, value, 0, 1);
        self.return_value(action);
    }

    fn return_value(&mut self, action: u32) {
        self.push(BPF_RET | BPF_K, action, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The filter's result for a call, from a small interpreter of the instructions used above.
    fn evaluate(architecture: u32, call: libc::c_long, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend((call as u32).to_le_bytes());
        data.extend(architecture.to_le_bytes());
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0_u32);
        let program = program();
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let code = u32::from(code);
            if code == BPF_RET | BPF_K {
                return k;
            }
            if code == BPF_LD | BPF_W | BPF_ABS {
                let offset = k as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
                continue;
            }
            let holds = match code & 0xf0 {
                BPF_JEQ => accumulator == k,
                BPF_JGE => accumulator >= k,
                BPF_JSET => accumulator & k != 0,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    fn evaluate_native(call: libc::c_long, arguments: [u64; 6]) -> u32 {
        evaluate(ARCHITECTURE, call, arguments)
    }

    #[test]
    fn every_listed_call_is_refused_and_ordinary_ones_are_not() {
        for &call in DENIED.iter().chain(DENIED_ON_ARCHITECTURE) {
            assert_eq!(evaluate_native(call, [0; 6]), REFUSE, "{call}");
        }
        for call in [
            libc::SYS_read,
            libc::SYS_execve,
            libc::SYS_ptrace,
            libc::SYS_chroot,
            libc::SYS_exit_group,
        ] {
            assert_eq!(evaluate_native(call, [1; 6]), ALLOW, "{call}");
        }
        assert_eq!(
            evaluate_native(libc::SYS_clone3, [0; 6]),
            refuse(libc::ENOSYS)
        );
    }

    #[test]
    fn namespaces_cannot_be_made_with_any_other_bits_set() {
        for flag in [
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNS,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWCGROUP,
        ] {
            let flag = u64::from(flag.unsigned_abs());
            assert_eq!(
                evaluate_native(
                    libc::SYS_clone,
                    [flag | 17 | 0xdead_0000_0000_0000, 0, 0, 0, 0, 0]
                ),
                REFUSE
            );
            assert_eq!(
                evaluate_native(libc::SYS_unshare, [flag, 0, 0, 0, 0, 0]),
                REFUSE
            );
        }
        assert_eq!(
            evaluate_native(libc::SYS_unshare, [0x80, 0, 0, 0, 0, 0]),
            REFUSE
        );
        assert_eq!(evaluate_native(libc::SYS_clone, [17, 0, 0, 0, 0, 0]), ALLOW);
        let files = u64::from(libc::CLONE_FILES.unsigned_abs());
        assert_eq!(
            evaluate_native(libc::SYS_unshare, [files, 0, 0, 0, 0, 0]),
            ALLOW
        );
    }

    #[test]
    fn only_common_socket_families_exist() {
        let socket = |family: i32| {
            evaluate_native(
                libc::SYS_socket,
                [u64::from(family.unsigned_abs()), 1, 0, 0, 0, 0],
            )
        };
        assert_eq!(socket(libc::AF_INET), ALLOW);
        assert_eq!(socket(libc::AF_UNIX), ALLOW);
        assert_eq!(socket(libc::AF_VSOCK), REFUSE);
        assert_eq!(socket(libc::AF_ALG), REFUSE);
        assert_eq!(socket(libc::AF_TIPC), refuse(libc::EAFNOSUPPORT));
    }

    #[test]
    fn pid_1_cannot_be_limited_or_rescheduled() {
        assert_eq!(
            evaluate_native(libc::SYS_prlimit64, [1, 0, 0, 0, 0, 0]),
            REFUSE
        );
        assert_eq!(
            evaluate_native(libc::SYS_prlimit64, [0, 0, 0, 0, 0, 0]),
            ALLOW
        );
        assert_eq!(
            evaluate_native(libc::SYS_setpriority, [0, 1, 19, 0, 0, 0]),
            REFUSE
        );
        assert_eq!(
            evaluate_native(libc::SYS_setpriority, [1, 0, 19, 0, 0, 0]),
            ALLOW
        );
        assert_eq!(
            evaluate_native(libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]),
            REFUSE
        );
        assert_eq!(
            evaluate_native(libc::SYS_ioctl, [0, 0x5401, 0, 0, 0, 0]),
            ALLOW
        );
    }

    #[test]
    fn other_architectures_have_no_system_calls() {
        assert_eq!(
            evaluate(0x4000_0003, libc::SYS_read, [0; 6]),
            refuse(libc::ENOSYS)
        );
        if cfg!(target_arch = "x86_64") {
            assert_eq!(
                evaluate_native(0x4000_0000 + libc::SYS_read, [0; 6]),
                refuse(libc::ENOSYS)
            );
        }
    }
}
