//! What root inside may do, and what pid 1 may.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet as Cap, CapabilitySets, set_capabilities};

use crate::os::sys;

/// What a program run as root gets: enough for package managers and servers, nothing that reaches the kernel.
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

/// What pid 1 needs to start commands as other users, in directories of theirs, and to end them.
const INIT: Cap = Cap::DAC_OVERRIDE
    .union(Cap::KILL)
    .union(Cap::SETGID)
    .union(Cap::SETUID);

/// Gives up everything else, for this process and for all that it starts.
pub(crate) fn confine() -> Result<(), Errno> {
    sys::bound_capabilities(PROGRAMS.bits())?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: INIT,
            permitted: INIT,
            inheritable: Cap::empty(),
        },
    )
}
