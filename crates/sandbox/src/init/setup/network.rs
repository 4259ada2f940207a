//! The sandbox's network: a namespace with a loopback interface, and the listener for the caller.

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
use rustix::thread::UnshareFlags;

use crate::os::sys;
use crate::protocol::spec::Network;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

/// The most connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// Leaves this machine's network, unless the sandbox shares it.
pub(crate) fn leave(network: Network) -> Result<(), StepFailure> {
    match network {
        Network::Host => Ok(()),
        Network::Loopback | Network::Listener { .. } => {
            sys::unshare(UnshareFlags::NEWNET).at_step(Step::NetworkNamespace)
        }
    }
}

/// Brings the sandbox's loopback interface up, and listens on it before any command can.
pub(crate) fn set_up(network: Network) -> Result<Option<OwnedFd>, StepFailure> {
    if network == Network::Host {
        return Ok(None);
    }
    sys::loopback_up().at_step(Step::Loopback)?;
    match network {
        Network::Listener { port } => listener(port).at_step(Step::Listener).map(Some),
        Network::Loopback | Network::Host => Ok(None),
    }
}

/// Begins a connection to a loopback address of the sandbox. The socket does not block, and the
/// connection may still be under way.
///
/// A sandbox that shares this machine's network has no loopback of its own, so nothing is
/// connected.
pub(crate) fn begin_connection(network: Network, address: SocketAddr) -> Result<OwnedFd, Errno> {
    if network == Network::Host || !address.ip().is_loopback() {
        return Err(Errno::PERM);
    }
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Makes the listening socket. It stays in this network namespace, whichever process holds it.
fn listener(port: u16) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(Network::LISTENER, port))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
