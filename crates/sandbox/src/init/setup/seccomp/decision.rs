//! The answers of the filter, and their dependence on arguments.

use rustix::io::Errno;

/// The answer to a call.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// A return value of the filter.
    Answer(u32),
    /// The first test that holds decides. If none holds, `otherwise` decides.
    ByArgument {
        argument: Argument,
        tests: Vec<(ArgumentTest, Decision)>,
        otherwise: Box<Decision>,
    },
}

/// One half of an argument, with a mask for its bits.
#[derive(Debug, PartialEq)]
pub(super) struct Argument {
    pub(super) index: u32,
    pub(super) is_upper_half: bool,
    pub(super) mask: u32,
}

/// A test of half an argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ArgumentTest {
    Equal(u32),
    AnyBit(u32),
}

/// The kernel performs the call.
pub(super) const ALLOW: Decision = Decision::Answer(libc::SECCOMP_RET_ALLOW);
/// The call fails as it does without the right to it.
pub(super) const REFUSE: Decision = fail_with(Errno::PERM);
/// The call fails as it does on a kernel that lacks it.
pub(super) const MISSING: Decision = fail_with(Errno::NOSYS);

/// The call fails with this error, and the kernel does not see it.
pub(super) const fn fail_with(error: Errno) -> Decision {
    Decision::Answer(libc::SECCOMP_RET_ERRNO | error.raw_os_error().unsigned_abs())
}

/// The lower half of an argument. It is the whole argument of a call that takes 32 bits.
pub(super) const fn argument(index: u32) -> Argument {
    Argument {
        index,
        is_upper_half: false,
        mask: u32::MAX,
    }
}

impl Argument {
    /// The same argument with only these bits.
    pub(super) const fn masked(self, mask: u32) -> Self {
        Self { mask, ..self }
    }

    /// The other half of the same argument.
    pub(super) const fn upper_half(self) -> Self {
        Self {
            is_upper_half: true,
            ..self
        }
    }

    /// The decision of these tests, in their order.
    pub(super) fn decides(
        self,
        tests: impl IntoIterator<Item = (ArgumentTest, Decision)>,
        otherwise: Decision,
    ) -> Decision {
        Decision::ByArgument {
            argument: self,
            tests: tests.into_iter().collect(),
            otherwise: Box::new(otherwise),
        }
    }
}
