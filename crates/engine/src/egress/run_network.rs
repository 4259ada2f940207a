//! The network that one run asks for. It is never wider than the engine's.

use super::rules::{EgressRule, EgressRuleError};
use crate::api::request::SpawnRequest;

/// The most hosts of a run.
const MAX_HOSTS: usize = 256;

/// The part of the engine's network that one run may use.
#[derive(Debug)]
pub(super) enum RunNetwork {
    /// Everything that the engine allows.
    Default,
    /// Only these hosts.
    Hosts(Vec<EgressRule>),
}

/// The reason why a run cannot have the network that it asks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunNetworkError {
    /// A host is not a rule.
    #[error("`x-network.allow_hosts`: {0}")]
    Rule(#[from] EgressRuleError),
    /// A rule would allow private addresses.
    #[error(
        "`x-network.allow_hosts`: {0} ends in +private, which only the engine's own rules may have; leave the ending out"
    )]
    Private(EgressRule),
    /// The list has no host, or too many.
    #[error(
        "`x-network.allow_hosts` must have from 1 to {MAX_HOSTS} hosts, not {0}; for no network at all, set networking.enabled to false"
    )]
    Count(usize),
    /// Networking is disabled.
    #[error(
        "`x-network.allow_hosts` is set although networking.enabled is false; leave one of them out"
    )]
    Disabled,
    /// The engine does not filter.
    #[error(
        "`x-network.allow_hosts` cannot be enforced, because sandboxes share this machine's network (--network host); start the engine with --network proxy, or set networking.enabled to false"
    )]
    Unfiltered,
}

impl RunNetwork {
    /// Reads the network of a request.
    pub(super) fn of(request: &SpawnRequest) -> Result<Self, RunNetworkError> {
        let Some(hosts) = request
            .x_network
            .as_ref()
            .and_then(|network| network.allow_hosts.as_ref())
        else {
            return Ok(Self::Default);
        };
        let networking = request.networking.as_ref();
        if networking.is_some_and(|networking| !networking.enabled) {
            return Err(RunNetworkError::Disabled);
        }
        if !(1..=MAX_HOSTS).contains(&hosts.len()) {
            return Err(RunNetworkError::Count(hosts.len()));
        }
        let rules = hosts
            .iter()
            .map(|host| {
                let rule: EgressRule = host.trim().parse()?;
                match rule.may_be_private() {
                    true => Err(RunNetworkError::Private(rule)),
                    false => Ok(rule),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::Hosts(rules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(fields: serde_json::Value) -> Result<RunNetwork, RunNetworkError> {
        let mut body = serde_json::json!({"command": "true", "image": "tag:host"});
        let fields = fields.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(fields);
        RunNetwork::of(&serde_json::from_value(body).expect("a request"))
    }

    #[test]
    fn a_network_that_cannot_be_given_is_refused_with_the_reason() {
        for (fields, reason) in [
            (
                serde_json::json!({"x-network": {"allow_hosts": []}}),
                "from 1 to 256",
            ),
            (
                serde_json::json!({"x-network": {"allow_hosts": ["https://a.example"]}}),
                "HOST[:PORT]",
            ),
            (
                serde_json::json!({"x-network": {"allow_hosts": ["10.0.0.0/8+private"]}}),
                "leave the ending out",
            ),
            (
                serde_json::json!({"x-network": {"allow_hosts": ["a.example"]}, "networking": {"enabled": false}}),
                "leave one of them out",
            ),
        ] {
            let error = network(fields).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
        let default = network(serde_json::json!({"x-network": {}})).expect("a network");
        assert!(matches!(default, RunNetwork::Default));
        let hosts =
            serde_json::json!({"x-network": {"allow_hosts": ["a.example:443", "*.b.example"]}});
        match network(hosts).expect("a network") {
            RunNetwork::Hosts(rules) => assert_eq!(rules.len(), 2),
            RunNetwork::Default => panic!("the hosts are ignored"),
        }
    }
}
