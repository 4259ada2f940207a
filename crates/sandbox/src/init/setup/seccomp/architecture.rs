//! The architectures of the engine, with the numbers of their system calls.

/// An architecture, as the kernel describes it to a filter.
pub(super) struct Architecture {
    /// Its AUDIT_ARCH number.
    pub(super) audit_number: u32,
    /// Returns the number and the name of each call, in the order of the numbers.
    pub(super) calls: fn() -> Vec<(u32, &'static str)>,
}

macro_rules! calls {
    ($architecture:ident) => {
        || {
            use syscalls::$architecture::Sysno;
            // The iterator of `Sysno` leaves out the last call.
            (0..=Sysno::last().id().unsigned_abs())
                .filter_map(|number| Some((number, Sysno::new(number as usize)?.name())))
                .collect()
        }
    };
}

#[cfg(any(test, target_arch = "x86_64"))]
pub(super) const X86_64: Architecture = Architecture {
    audit_number: 0xc000_003e,
    calls: calls!(x86_64),
};

#[cfg(any(test, target_arch = "aarch64"))]
pub(super) const AARCH64: Architecture = Architecture {
    audit_number: 0xc000_00b7,
    calls: calls!(aarch64),
};

#[cfg(any(test, target_arch = "riscv64"))]
pub(super) const RISCV64: Architecture = Architecture {
    audit_number: 0xc000_00f3,
    calls: calls!(riscv64),
};

/// The architecture that the engine was built for.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: &Architecture = &X86_64;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: &Architecture = &AARCH64;
#[cfg(target_arch = "riscv64")]
pub(super) const NATIVE: &Architecture = &RISCV64;

#[cfg(test)]
pub(super) const ALL: [&Architecture; 3] = [&X86_64, &AARCH64, &RISCV64];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_c_library() {
        let calls = (NATIVE.calls)();
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone", libc::SYS_clone),
            ("socket", libc::SYS_socket),
            ("ioctl", libc::SYS_ioctl),
            ("mount", libc::SYS_mount),
            ("personality", libc::SYS_personality),
            ("fallocate", libc::SYS_fallocate),
            ("prlimit64", libc::SYS_prlimit64),
            ("bpf", libc::SYS_bpf),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("clone3", libc::SYS_clone3),
            ("close_range", libc::SYS_close_range),
        ] {
            let number = u32::try_from(number).unwrap();
            assert!(calls.contains(&(number, name)), "{name} is not {number}");
        }
    }

    #[test]
    fn the_last_call_is_in_the_list() {
        for architecture in ALL {
            let calls = (architecture.calls)();
            assert_eq!(calls.last(), Some(&(469, "file_setattr")));
            assert!(calls.is_sorted());
        }
    }
}
