//! Egress rules: the hosts that sandboxes may or may not reach, as the user sets them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::target::{Host, Target, TargetError};

/// The suffix of a rule whose hosts may have private addresses.
const PRIVATE: &str = "+private";

/// A rule of `--egress-allow` or `--egress-deny`: `HOST[:PORT][+private]`.
///
/// `HOST` is one of:
/// - a name (`example.com`): that name alone;
/// - `*.example.com`: every name below `example.com`, but not `example.com` itself;
/// - `*`: every host;
/// - an address;
/// - a network (`10.0.0.0/8`, `[2001:db8::]/32`).
///
/// Without `:PORT` the rule applies to every port. `+private` lets an allowed host have private
/// addresses. Loopback, link-local, metadata and the machine's own addresses stay denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRule {
    hosts: HostPattern,
    port: Option<u16>,
    private: bool,
}

/// The hosts of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    All,
    Name(String),
    Subdomains(String),
    Network(IpNet),
}

/// An error in the text of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{rule}` is not an egress rule: {why}; write HOST[:PORT][+private], where HOST is a name, *.NAME, *, an address or a network"
)]
pub struct EgressRuleError {
    rule: String,
    #[source]
    why: RuleSyntaxError,
}

/// The reason why a rule is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum RuleSyntaxError {
    #[error("a rule names a host: leave out the scheme and the path")]
    Url,
    #[error("the only suffix is {PRIVATE}, not +{0}")]
    Suffix(String),
    #[error("the port must be a number from 1 to 65535")]
    Port,
    #[error("`*.` needs a name, not an address; write a network as in 10.0.0.0/8")]
    BelowAddress,
    #[error(transparent)]
    Host(#[from] TargetError),
}

impl EgressRule {
    /// Parses a comma-separated list. Spaces around rules and empty items are ignored.
    ///
    /// # Errors
    /// Returns the first error.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, EgressRuleError> {
        text.split(',')
            .map(str::trim)
            .filter(|rule| !rule.is_empty())
            .map(str::parse)
            .collect()
    }

    /// Returns whether hosts of the rule may have private addresses.
    #[must_use]
    pub fn may_be_private(&self) -> bool {
        self.private
    }

    /// Returns whether the rule matches the target before its name is resolved.
    pub(super) fn matches_name(&self, target: &Target) -> bool {
        self.has_port(target.port)
            && match (&self.hosts, &target.host) {
                (HostPattern::All, _) => true,
                (HostPattern::Name(name), Host::Name(requested)) => name == requested,
                (HostPattern::Subdomains(domain), host @ Host::Name(requested)) => {
                    requested != domain && host.is_within(domain)
                }
                (HostPattern::Network(net), Host::Address(address)) => contains(net, *address),
                (HostPattern::Name(_) | HostPattern::Subdomains(_), Host::Address(_))
                | (HostPattern::Network(_), Host::Name(_)) => false,
            }
    }

    /// Returns whether the rule matches an address that the target's name resolved to.
    pub(super) fn matches_address(&self, address: IpAddr, port: u16) -> bool {
        match &self.hosts {
            HostPattern::Network(net) => self.has_port(port) && contains(net, address),
            HostPattern::All | HostPattern::Name(_) | HostPattern::Subdomains(_) => false,
        }
    }

    /// Returns whether the rule is about addresses. Then a name must be resolved to see if the rule
    /// matches.
    pub(super) fn is_network(&self) -> bool {
        matches!(self.hosts, HostPattern::Network(_))
    }

    /// Returns whether the rule is about one port.
    pub(super) fn names_port(&self) -> bool {
        self.port.is_some()
    }

    /// The port of a rule about one port.
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    pub(super) fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
    }
}

/// Returns whether a network contains an address. An IPv4-mapped IPv6 address counts as its IPv4
/// address.
fn contains(net: &IpNet, address: IpAddr) -> bool {
    net.contains(&address) || net.contains(&address.to_canonical())
}

impl FromStr for EgressRule {
    type Err = EgressRuleError;

    fn from_str(rule: &str) -> Result<Self, EgressRuleError> {
        let fail = |why: RuleSyntaxError| EgressRuleError {
            rule: rule.to_owned(),
            why,
        };
        let (text, private) = match rule.strip_suffix(PRIVATE) {
            Some(text) => (text, true),
            None => (rule, false),
        };
        if text.contains("://") {
            return Err(fail(RuleSyntaxError::Url));
        }
        if let Some((_, suffix)) = text.split_once('+') {
            return Err(fail(RuleSyntaxError::Suffix(suffix.to_owned())));
        }
        let (host, port) = split_port(text).map_err(fail)?;
        let hosts = parse_hosts(host).map_err(fail)?;
        Ok(Self {
            hosts,
            port,
            private,
        })
    }
}

/// Splits host and port. An IPv6 address with a port has brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), RuleSyntaxError> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.contains(']') => (host, port),
        _ => return Ok((text, None)),
    };
    if port.contains(']') {
        return Ok((text, None));
    }
    match port.parse() {
        Ok(port @ 1..) if !port.to_string().is_empty() => Ok((host, Some(port))),
        _ => Err(RuleSyntaxError::Port),
    }
}

fn parse_hosts(text: &str) -> Result<HostPattern, RuleSyntaxError> {
    if text == "*" {
        return Ok(HostPattern::All);
    }
    if let Some(domain) = text.strip_prefix("*.") {
        return match Host::parse(domain)? {
            Host::Name(name) => Ok(HostPattern::Subdomains(name)),
            Host::Address(_) => Err(RuleSyntaxError::BelowAddress),
        };
    }
    let bare = text.replace(['[', ']'], "");
    if let Ok(net) = bare.parse::<IpNet>() {
        return Ok(HostPattern::Network(net.trunc()));
    }
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(HostPattern::Network(address.into()));
    }
    match Host::parse(text)? {
        Host::Name(name) => Ok(HostPattern::Name(name)),
        Host::Address(address) => Ok(HostPattern::Network(address.into())),
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hosts {
            HostPattern::All => f.write_str("*")?,
            HostPattern::Name(name) => f.write_str(name)?,
            HostPattern::Subdomains(domain) => write!(f, "*.{domain}")?,
            HostPattern::Network(net) => {
                let (open, close) = match net {
                    IpNet::V6(_) => ("[", "]"),
                    IpNet::V4(_) => ("", ""),
                };
                write!(f, "{open}{}{close}", net.addr())?;
                if net.prefix_len() != net.max_prefix_len() {
                    write!(f, "/{}", net.prefix_len())?;
                }
            }
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(if self.private { PRIVATE } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> EgressRule {
        text.parse().expect(text)
    }

    fn target(text: &str) -> Target {
        Target::parse(text, Some(443)).expect(text)
    }

    #[test]
    fn rules_are_read_and_printed_alike() {
        for text in [
            "example.com",
            "*.example.com",
            "*.example.com:8443",
            "*",
            "*:443",
            "10.1.2.3",
            "10.1.2.3:80",
            "10.0.0.0/8",
            "10.0.0.0/8:443",
            "[2001:db8::1]",
            "[2001:db8::1]:443",
            "[2001:db8::]/32",
            "[2001:db8::]/32:443",
            "mirror.example:8080+private",
            "*+private",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
        assert_eq!(rule("2001:db8::/32").to_string(), "[2001:db8::]/32");
        assert_eq!(rule("2001:db8::1").to_string(), "[2001:db8::1]");
        assert_eq!(rule("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(rule("Example.Com.").to_string(), "example.com");
        assert_eq!(
            EgressRule::parse_list(" a.example, b.example:80+private ,,")
                .expect("a list")
                .len(),
            2
        );
    }

    #[test]
    fn invalid_rules_are_errors() {
        for bad in [
            "",
            "*.",
            "a*.example",
            "*example.com",
            "https://example.com",
            "example.com:0",
            "example.com:x",
            "example.com:",
            "example.com/path",
            "example.com+public",
            "user@example.com",
            "*.10.0.0.1",
            "127.1",
            "10.0.0.0/33",
            "a b",
        ] {
            let error = bad.parse::<EgressRule>().expect_err(bad).to_string();
            assert!(error.contains("HOST[:PORT][+private]"), "{error}");
        }
    }

    #[test]
    fn names_and_subdomains() {
        let exact = rule("example.com");
        assert!(
            exact.matches_name(&target("example.com"))
                && exact.matches_name(&target("EXAMPLE.com.:80"))
        );
        assert!(
            !exact.matches_name(&target("a.example.com"))
                && !exact.matches_name(&target("badexample.com"))
        );
        let below = rule("*.example.com:443");
        assert!(below.matches_name(&target("a.b.example.com")));
        assert!(
            !below.matches_name(&target("example.com"))
                && !below.matches_name(&target("a.example.com:80"))
        );
        assert!(!below.matches_name(&target("badexample.com")));
        assert!(
            rule("*").matches_name(&target("anything.example"))
                && rule("*").matches_name(&target("8.8.8.8"))
        );
    }

    #[test]
    fn addresses_and_networks() {
        let net = rule("10.0.0.0/8:443");
        assert!(
            net.matches_name(&target("10.1.2.3")) && net.matches_name(&target("[::ffff:10.1.2.3]"))
        );
        assert!(
            !net.matches_name(&target("11.1.2.3")) && !net.matches_name(&target("10.1.2.3:80"))
        );
        assert!(net.matches_address("10.9.9.9".parse().expect("an address"), 443));
        assert!(!net.matches_name(&target("example.com")) && net.is_network());
    }
}
