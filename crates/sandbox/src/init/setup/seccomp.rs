//! The system call filter: it allows the calls that commands need, and no others.
//!
//! Capabilities and namespaces refuse most of the other calls too. The filter is a second barrier.
//! It keeps bugs of whole kernel subsystems out of reach, and the calls of later kernels. System
//! calls of other architectures fail with ENOSYS, as on a machine without them.

mod architecture;
mod arguments;
mod decision;
#[cfg(test)]
mod interpreter;
mod program;
mod table;
#[cfg(test)]
mod tests;

use rustix::io::Errno;

use crate::os::sys;

/// Installs the filter for this process and its children. It needs CAP_SYS_ADMIN. The alternative,
/// no_new_privs, would disable set-user-id programs.
pub(crate) fn install() -> Result<(), Errno> {
    sys::install_filter(&program::assemble(
        architecture::NATIVE,
        &table::decisions(),
    ))
}
