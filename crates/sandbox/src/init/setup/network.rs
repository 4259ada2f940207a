//! The sandbox's network: a namespace with a loopback interface, and the sockets for the caller.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::thread::UnshareFlags;

use super::interception;
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
        Network::Loopback | Network::Listener { .. } | Network::Intercepted { .. } => {
            sys::unshare(UnshareFlags::NEWNET).at_step(Step::NetworkNamespace)
        }
    }
}

/// The sockets for the caller, and the reason if packets are not intercepted.
#[derive(Default)]
pub(crate) struct NetworkSockets {
    /// The listener, then the sockets of the interception.
    pub(crate) sockets: Vec<OwnedFd>,
    /// The reason why the packets of a sandbox with [`Network::Intercepted`] are not intercepted.
    pub(crate) refusal: Option<String>,
}

/// Brings the sandbox's loopback interface up, and listens on it before any command can.
pub(crate) fn set_up(network: Network) -> Result<NetworkSockets, StepFailure> {
    let mut result = NetworkSockets::default();
    if network == Network::Host {
        return Ok(result);
    }
    sys::loopback_up().at_step(Step::Loopback)?;
    if let Network::Listener { port } | Network::Intercepted { port } = network {
        result.sockets.push(listener(port).at_step(Step::Listener)?);
    }
    if let Network::Intercepted { .. } = network {
        match interception::set_up() {
            Ok(sockets) => result.sockets.extend(sockets),
            Err(failure) => {
                result.refusal = Some(format!("cannot {}: {}", failure.step, failure.cause));
            }
        }
    }
    Ok(result)
}

/// Makes the listening socket. It stays in this network namespace, whichever process holds it.
fn listener(port: u16) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(Network::LISTENER, port))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
