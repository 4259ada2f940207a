//! What a request asks for: a host and a port, checked before anything is looked up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name of a host, without a trailing dot (RFC 1035, section 2.3.4).
const NAME: usize = 253;

/// Longest label of a name.
const LABEL: usize = 63;

/// Why a text is no target. Each has the text as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    /// It has user information.
    #[error("{0}: a user name before the host is not taken")]
    UserName(String),
    /// An IPv6 address is not closed.
    #[error("{0} has no closing bracket")]
    Bracket(String),
    /// Something else than a port follows the host.
    #[error("{0} is neither a host nor host:port")]
    Form(String),
    /// There is no IPv6 address in the brackets.
    #[error("{0} is no IPv6 address (zones are not taken)")]
    Ipv6(String),
    /// What stands for a port is none.
    #[error("{0} has no port from 1 to 65535")]
    BadPort(String),
    /// A port is needed.
    #[error("{0} has no port")]
    NoPort(String),
    /// It is no name of a host.
    #[error("{0} is no name of a host (labels of letters, digits and -)")]
    Name(String),
    /// Resolvers would take it for an address.
    #[error("{0} is no name, and no IPv4 address in the usual form")]
    Number(String),
}

/// Where a connection is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A host as the request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// In lower case, without a trailing dot, of labels of letters, digits, `-` and `_`, and no way to write an address.
    Name(String),
    Address(IpAddr),
}

impl Target {
    /// Reads `HOST[:PORT]` of a request.
    ///
    /// # Errors
    /// A reason that names what is wrong with it.
    pub(super) fn parse(authority: &str, default_port: Option<u16>) -> Result<Self, TargetError> {
        let shown = shown(authority);
        if authority.contains('@') {
            return Err(TargetError::UserName(shown));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (inner, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| TargetError::Bracket(shown.clone()))?;
                let port = match rest.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if rest.is_empty() => None,
                    None => return Err(TargetError::Form(shown)),
                };
                let address: Ipv6Addr = inner
                    .parse()
                    .map_err(|_| TargetError::Ipv6(shown.clone()))?;
                (Host::Address(address.into()), port)
            }
            None => {
                let (host, port) = match authority.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (authority, None),
                };
                (Host::parse(host)?, port)
            }
        };
        let port = match port {
            Some(digits) if !digits.is_empty() => digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse().ok())
                .flatten()
                .filter(|port| *port != 0)
                .ok_or_else(|| TargetError::BadPort(shown.clone()))?,
            Some(_) | None => default_port.ok_or_else(|| TargetError::NoPort(shown.clone()))?,
        };
        Ok(Self { host, port })
    }
}

impl Host {
    /// Reads a name or an address without brackets.
    ///
    /// # Errors
    /// A reason that names what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, TargetError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let shown = shown(text);
        let label = |label: &str| {
            (1..=LABEL).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if name.is_empty() || name.len() > NAME || !name.split('.').all(label) {
            return Err(TargetError::Name(shown));
        }
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        // Resolvers read 127.1, 2130706433, 0x7f.1 and 0177.0.0.1 as addresses. No top-level domain is a number.
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TargetError::Number(shown));
        }
        Ok(Self::Name(name))
    }

    /// Whether it is `domain` or below it.
    pub(super) fn is_within(&self, domain: &str) -> bool {
        match self {
            Self::Name(name) => name
                .strip_suffix(domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            Self::Address(_) => false,
        }
    }
}

/// What was asked for, short and printable, for reasons that end up in a status line.
fn shown(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_default)
        .collect();
    if text.chars().count() > LONGEST {
        shown.push_str("...");
    }
    if shown.is_empty() {
        "an empty name".into()
    } else {
        shown
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good(text: &str) -> String {
        Target::parse(text, Some(80)).expect(text).to_string()
    }

    #[test]
    fn hosts_and_ports() {
        assert_eq!(good("Example.COM"), "example.com:80");
        assert_eq!(good("example.com."), "example.com:80");
        assert_eq!(good("example.com:8443"), "example.com:8443");
        assert_eq!(good("example.com:"), "example.com:80");
        assert_eq!(good("127.0.0.1."), "127.0.0.1:80");
        assert_eq!(good("[::1]"), "[::1]:80");
        assert_eq!(good("[2001:db8::1]:443"), "[2001:db8::1]:443");
        assert_eq!(good("xn--bcher-kva.example"), "xn--bcher-kva.example:80");
        assert_eq!(good("a_b.example"), "a_b.example:80");
        assert_eq!(good("1password.com"), "1password.com:80");
        assert_eq!(good("0xample.com"), "0xample.com:80");
        assert!(Target::parse("example.com", None).is_err());
    }

    #[test]
    fn what_is_no_host_is_refused_unresolved() {
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "-a.example",
            "a-.example",
            "a b",
            "user@example.com",
            "example.com@127.0.0.1",
            "example.com%00.evil",
            "127.0.0.1%00",
            "%31%32%37.0.0.1",
            "b\u{fc}cher.example",
            "127\u{3002}0\u{3002}0\u{3002}1",
            "\u{ff11}27.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0X7F000001",
            "0x7f.1",
            "0x",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.0x1",
            "0",
            "1.2.3.4.5",
            "256.1.1.1",
            "example.1",
            "[::1",
            "[::1]x",
            "[::1%lo]",
            "[fe80::1%25lo]",
            "[127.0.0.1]",
            "::1",
            "example.com:0",
            "example.com:65536",
            "example.com:+80",
            "example.com:80:80",
            "example.com:http",
        ] {
            let refused = Target::parse(bad, Some(80));
            assert!(refused.is_err(), "{bad:?} {refused:?}");
        }
        let long = format!("{}.example", "a".repeat(64));
        assert!(Target::parse(&long, Some(80)).is_err());
        let deep = "a.".repeat(140);
        assert!(Target::parse(&deep, Some(80)).is_err());
    }

    #[test]
    fn domains_end_at_a_dot() {
        let host = Host::parse("a.example.com").expect("a host");
        assert!(host.is_within("example.com") && host.is_within("a.example.com"));
        assert!(!host.is_within("ample.com") && !host.is_within("b.a.example.com"));
    }

    proptest! {
        #[test]
        fn nothing_breaks_it_and_reasons_fit_a_status_line(text in "\\PC{0,300}|[\\x00-\\x7f]{0,40}") {
            match Target::parse(&text, Some(80)) {
                Ok(target) => {
                    // What is printed means the same again.
                    prop_assert_eq!(Target::parse(&target.to_string(), None).expect("a target"), target);
                }
                Err(reason) => prop_assert!(reason.to_string().bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{}", reason),
            }
        }

        #[test]
        fn a_name_is_never_what_a_resolver_takes_for_an_address(text in "[0-9xXa-f.]{1,20}") {
            if let Ok(Host::Name(name)) = Host::parse(&text) {
                let last = name.rsplit('.').next().expect("a label");
                prop_assert!(last.bytes().any(|byte| byte.is_ascii_alphabetic()));
                prop_assert!(!last.starts_with("0x") || last[2..].bytes().any(|byte| !byte.is_ascii_hexdigit()));
            }
        }
    }
}
