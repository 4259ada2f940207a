//! The capabilities of the inner root and of pid 1.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet as Cap, CapabilitySets, set_capabilities};

use crate::os::sys;

/// The capabilities of programs that run as root. They suffice for package managers and servers,
/// and reach nothing in the kernel outside the sandbox.
const PROGRAMS: Cap = Cap::CHOWN
    .union(Cap::DAC_OVERRIDE)
    .union(Cap::FOWNER)
    .union(Cap::FSETID)
    .union(Cap::KILL)
    .union(Cap::SETGID)
    .union(Cap::SETUID)
    .union(Cap::SETPCAP)
    .union(Cap::NET_BIND_SERVICE)
    .union(Cap::SYS_CHROOT)
    .union(Cap::SETFCAP);

/// The capabilities of pid 1: it starts commands as other users in their directories, and ends
/// them.
const INIT: Cap = Cap::DAC_OVERRIDE
    .union(Cap::KILL)
    .union(Cap::SETGID)
    .union(Cap::SETUID);

/// Drops all other capabilities, for this process and its children.
pub(crate) fn confine() -> Result<(), Errno> {
    sys::limit_capabilities(PROGRAMS.bits())?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: INIT,
            permitted: INIT,
            inheritable: Cap::empty(),
        },
    )
}
