//! The engine's ends of a sandbox's network.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use crate::error::Error;
use crate::packet::{InterceptedPackets, PacketSocket};
use crate::protocol::spec::Network;

/// The sockets that a sandbox has handed out.
#[derive(Debug, Default)]
pub(super) struct NetworkEnds {
    pub(super) listener: Option<TcpListener>,
    pub(super) packets: Option<InterceptedPackets>,
}

impl NetworkEnds {
    /// Assigns the sockets of an init, which passes them in a fixed order. `refused` states that it
    /// does not intercept packets.
    ///
    /// # Errors
    /// [`Error::Gone`] if the number of sockets is wrong.
    pub(super) fn sort(
        network: Network,
        sockets: Vec<OwnedFd>,
        refused: bool,
    ) -> Result<Self, Error> {
        let mut sockets = sockets.into_iter();
        let mut next = || sockets.next().ok_or(Error::Gone);
        let mut ends = Self::default();
        if let Network::Listener { .. } | Network::Intercepted { .. } = network {
            ends.listener = Some(next()?.into());
        }
        if matches!(network, Network::Intercepted { .. }) && !refused {
            ends.packets = Some(InterceptedPackets {
                small: PacketSocket::new(next()?),
                large: PacketSocket::new(next()?),
                listener: next()?.into(),
                names: UdpSocket::from(next()?),
            });
        }
        match sockets.next() {
            None => Ok(ends),
            Some(_) => Err(Error::Gone),
        }
    }
}
