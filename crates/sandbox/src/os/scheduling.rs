//! Scheduling of this process.

use std::mem::{size_of, zeroed};

/// The time slice that a watcher asks for, in nanoseconds. The kernel allows no less.
const SHORT_SLICE: u64 = 100_000;

/// `struct sched_attr` of the kernel, in its first version.
#[repr(C)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for short time slices, so that this process runs soon after it is woken, even on a busy
/// machine. It gets no more time in total. Kernels before 6.12 ignore it.
pub(crate) fn prefer_short_slices() {
    // SAFETY: plain data for which zero is valid.
    let mut attributes: SchedulingAttributes = unsafe { zeroed() };
    let size = size_of::<SchedulingAttributes>();
    // SAFETY: the structure is alive, and the kernel gets its size. A refusal changes nothing.
    unsafe {
        let result = libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0);
        if result == 0 {
            attributes.runtime = SHORT_SLICE;
            libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
        }
    }
}
