//! The reasons why the policy denies a target.

use std::net::IpAddr;

use super::address::Classification;
use super::rules::EgressRule;
use super::target::{Host, Target};

/// The reason why a target is denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    /// A rule denies its name.
    #[error("{host} is denied by the rule {rule}")]
    Name { host: Host, rule: EgressRule },
    /// A rule denies its address.
    #[error("{address} is denied by the rule {rule}")]
    Address { address: IpAddr, rule: EgressRule },
    /// There is an allow list, and the target is not on it.
    #[error("{0} is not on the allow list")]
    NotListed(Target),
    /// The run may reach only some hosts, and the target is not one of them.
    #[error("{0} is not among the hosts that this run allows (allow_hosts)")]
    NotInRun(Target),
    /// The allow list does not have its name, and its addresses are unknown.
    #[error("{0} is not on the allow list, and its addresses cannot be looked up here")]
    Unresolved(Target),
    /// Its port is for mail, and no rule names it.
    #[error("{0} has a port for sending mail, which a rule must name to allow it")]
    MailPort(Target),
    /// Its name means this machine.
    #[error("{0} is this machine")]
    ThisMachine(Host),
    /// Its name is that of a cloud's metadata service.
    #[error("{0} is a cloud's metadata service")]
    Metadata(Host),
    /// Its name belongs to a local network.
    #[error("{0} is a private name")]
    PrivateName(Host),
    /// Its address is not public.
    #[error("{}", classification.sentence(*address))]
    NotPublic {
        address: IpAddr,
        classification: Classification,
    },
    /// Its address belongs to this machine.
    #[error("{0} is this machine's own address")]
    OwnAddress(IpAddr),
    /// Its address is in a network to which this machine is connected.
    #[error("{0} is in a network of this machine's own, where it may be trusted")]
    OnLink(IpAddr),
    /// There is no address to check.
    #[error("the name has no address")]
    NoAddress,
    /// An address of its name is denied.
    #[error("{name}: {source}")]
    Resolved { name: String, source: Box<Denial> },
}

impl Denial {
    /// Adds the name that resolved to the denied address.
    pub(super) fn for_host(self, host: &Host) -> Self {
        match host {
            Host::Name(name) => Self::Resolved {
                name: name.clone(),
                source: Box::new(self),
            },
            Host::Address(_) => self,
        }
    }
}
