//! Decides which connections are allowed: by name before it is resolved, by address before the
//! engine connects.

use std::net::IpAddr;

use super::address;
use super::address_class::AddressClass;
use super::denial::Denial;
use super::rules::EgressRule;
use super::target::{Host, Target};
use super::{embedded_ipv4, local_address, on_link};

/// Domains of this machine or its local network, whichever resolver answers (RFC 6761, RFC 6762,
/// and common use).
const LOCAL_DOMAINS: &[&str] = &["internal", "local", "localdomain", "home.arpa"];

/// Ports on which mail servers accept mail: SMTP (25), submission (465, 587) and its common
/// alternative. Mail that a command sends would be sent in the name of this machine's owner.
pub(super) const MAIL_PORTS: [u16; 4] = [25, 465, 587, 2525];

/// The egress rules of an engine.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    allow: Vec<EgressRule>,
    deny: Vec<EgressRule>,
    /// The only hosts that one run may reach, of those that the other rules allow. If empty, the
    /// run may reach all of them.
    run_allow: Vec<EgressRule>,
    /// Networks that tests may reach, for their own servers.
    #[cfg(test)]
    pub(super) open: Vec<ipnet::IpNet>,
    /// Networks that count as this machine's own in tests.
    #[cfg(test)]
    pub(super) own_networks: Vec<ipnet::IpNet>,
}

/// The result of checking a target's name, for the check of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameDecision {
    /// A rule allows private addresses for this name.
    private: bool,
    /// No rule allows the name; a rule may still allow an address.
    needs_address: bool,
    /// The port is for mail, and no rule names it with the name; a rule may still name it with an
    /// address.
    needs_port: bool,
    /// The run's own rules do not have the name; they may still have an address.
    needs_run_address: bool,
}

impl Policy {
    pub(super) fn new(allow: Vec<EgressRule>, deny: Vec<EgressRule>) -> Self {
        Self {
            allow,
            deny,
            run_allow: Vec::new(),
            #[cfg(test)]
            open: Vec::new(),
            #[cfg(test)]
            own_networks: Vec::new(),
        }
    }

    /// The policy of a run that may reach only these hosts. It never allows more than this one.
    pub(super) fn narrowed(&self, run_allow: Vec<EgressRule>) -> Self {
        Self {
            run_allow,
            ..self.clone()
        }
    }

    /// Checks a target's name before it is resolved.
    ///
    /// # Errors
    /// Returns the denial.
    pub(super) fn check_name(&self, target: &Target) -> Result<NameDecision, Denial> {
        if let Some(rule) = self.deny.iter().find(|rule| rule.matches_name(target)) {
            return Err(Denial::Name {
                host: target.host.clone(),
                rule: rule.clone(),
            });
        }
        let matching = || self.allow.iter().filter(|rule| rule.matches_name(target));
        let name_decision = NameDecision {
            private: matching().any(EgressRule::may_be_private),
            needs_address: !self.allow.is_empty() && matching().next().is_none(),
            needs_port: MAIL_PORTS.contains(&target.port)
                && !matching().any(EgressRule::names_port),
            needs_run_address: !self.run_allow.is_empty()
                && !self.run_allow.iter().any(|rule| rule.matches_name(target)),
        };
        let run_by_address = matches!(target.host, Host::Name(_))
            && self.run_allow.iter().any(EgressRule::is_network);
        if name_decision.needs_run_address && !run_by_address {
            return Err(Denial::NotInRun(target.clone()));
        }
        // If no rule about addresses can allow the target either, its name is not resolved.
        let by_address =
            matches!(target.host, Host::Name(_)) && self.allow.iter().any(EgressRule::is_network);
        if name_decision.needs_address && !by_address {
            return Err(Denial::NotListed(target.clone()));
        }
        let by_port = by_address
            && self
                .allow
                .iter()
                .any(|rule| rule.is_network() && rule.names_port() && rule.has_port(target.port));
        if name_decision.needs_port && !by_port {
            return Err(Denial::MailPort(target.clone()));
        }
        if target.host.is_within("localhost") {
            return Err(Denial::ThisMachine(target.host.clone()));
        }
        if target.host == Host::Name("metadata.google.internal".to_owned()) {
            return Err(Denial::Metadata(target.host.clone()));
        }
        if !name_decision.private
            && LOCAL_DOMAINS
                .iter()
                .any(|domain| target.host.is_within(domain))
        {
            return Err(Denial::PrivateName(target.host.clone()));
        }
        Ok(name_decision)
    }

    /// Returns whether a name passes the check with some port. The engine looks up no other names.
    pub(super) fn may_resolve(&self, host: &Host) -> bool {
        let named: Vec<u16> = self
            .allow
            .iter()
            .chain(&self.deny)
            .chain(&self.run_allow)
            .filter_map(EgressRule::port)
            .collect();
        // All ports that no rule names are treated alike, so one of them stands for the others.
        let unnamed =
            (1..=u16::MAX).find(|port| !MAIL_PORTS.contains(port) && !named.contains(port));
        named.into_iter().chain(unnamed).any(|port| {
            let host = host.clone();
            self.check_name(&Target { host, port }).is_ok()
        })
    }

    /// Checks a target whose addresses are unknown because another proxy resolves its name.
    ///
    /// # Errors
    /// Returns the denial.
    pub(super) fn check_unresolved(
        &self,
        target: &Target,
        name_decision: NameDecision,
    ) -> Result<(), Denial> {
        if name_decision.needs_address || name_decision.needs_run_address {
            return Err(Denial::Unresolved(target.clone()));
        }
        if name_decision.needs_port {
            return Err(Denial::MailPort(target.clone()));
        }
        Ok(())
    }

    /// Checks an address that the target's name resolved to, or the target's own address.
    ///
    /// # Errors
    /// Returns the denial.
    pub(super) fn check_address(
        &self,
        target: &Target,
        name_decision: NameDecision,
        address: IpAddr,
    ) -> Result<(), Denial> {
        let denies = |rule: &&EgressRule| {
            rule.matches_address(address, target.port)
                || embedded_ipv4::extract(address)
                    .into_iter()
                    .any(|inner| rule.matches_address(inner.into(), target.port))
        };
        if let Some(rule) = self.deny.iter().find(denies) {
            return Err(Denial::Address {
                address,
                rule: rule.clone(),
            });
        }
        let in_run = |rule: &EgressRule| rule.matches_address(address, target.port);
        if name_decision.needs_run_address && !self.run_allow.iter().any(in_run) {
            return Err(Denial::NotInRun(target.clone()));
        }
        let matching = || {
            self.allow
                .iter()
                .filter(|rule| rule.matches_address(address, target.port))
        };
        if name_decision.needs_address && matching().next().is_none() {
            return Err(Denial::NotListed(target.clone()));
        }
        if name_decision.needs_port && !matching().any(EgressRule::names_port) {
            return Err(Denial::MailPort(target.clone()));
        }
        #[cfg(test)]
        if self.open.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        let classification = address::classify(address);
        let private = name_decision.private || matching().any(EgressRule::may_be_private);
        match classification.class {
            AddressClass::Public => {}
            AddressClass::Private if private => {}
            AddressClass::Private | AddressClass::Forbidden => {
                return Err(Denial::NotPublic {
                    address,
                    classification,
                });
            }
        }
        let embedded = classification.embedded.map_or(address, IpAddr::V4);
        if local_address::is_local(address) || local_address::is_local(embedded) {
            return Err(Denial::OwnAddress(address));
        }
        if !private && self.is_on_link(embedded) {
            return Err(Denial::OnLink(address));
        }
        Ok(())
    }

    /// Returns whether an address is in a network to which this machine is connected.
    fn is_on_link(&self, address: IpAddr) -> bool {
        #[cfg(test)]
        if self.own_networks.iter().any(|net| net.contains(&address)) {
            return true;
        }
        on_link::contains(address)
    }

    /// Describes the rules for people.
    pub(super) fn describe(&self) -> String {
        let list = |rules: &[EgressRule]| {
            let shown: Vec<String> = rules.iter().map(ToString::to_string).collect();
            shown.join(", ")
        };
        let mut text = if self.allow.is_empty() {
            "public addresses, any port but those for sending mail".to_owned()
        } else {
            format!("only {}", list(&self.allow))
        };
        if !self.deny.is_empty() {
            text.push_str(&format!("; never {}", list(&self.deny)));
        }
        text
    }
}

#[cfg(test)]
mod tests;
