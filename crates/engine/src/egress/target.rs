//! The target of a request: a host and a port, checked before any name is resolved.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest host name, without a trailing dot (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// The longest label of a name.
const MAX_LABEL_BYTES: usize = 63;

/// The reason why a text is not a target. Each variant holds the text in printable form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    /// It has a user name.
    #[error("{0}: leave out the user name before the host")]
    UserName(String),
    /// An IPv6 address has no closing bracket.
    #[error("{0} has no closing bracket")]
    Bracket(String),
    /// Something other than a port follows the host.
    #[error("{0} is neither a host nor host:port")]
    Form(String),
    /// The brackets do not hold an IPv6 address.
    #[error("{0} is not an IPv6 address (zones are not supported)")]
    Ipv6(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0}: the port must be a number from 1 to 65535")]
    BadPort(String),
    /// The port is missing, and there is no default.
    #[error("{0} has no port")]
    NoPort(String),
    /// It is not a host name.
    #[error("{0} is not a host name (labels of letters, digits and -)")]
    Name(String),
    /// It is not a name, but resolvers would read it as an address.
    #[error("{0} is neither a host name nor an IPv4 address with four decimal parts")]
    Number(String),
}

/// The destination of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A host as the request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A name that no resolver reads as an address: lower case, no trailing dot, labels of letters,
    /// digits, `-` and `_`.
    Name(String),
    Address(IpAddr),
}

impl Target {
    /// Parses `HOST[:PORT]` of a request.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    pub(super) fn parse(authority: &str, default_port: Option<u16>) -> Result<Self, TargetError> {
        let shown = printable(authority);
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
    /// Parses a name or an address without brackets.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, TargetError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let shown = printable(text);
        let is_label = |label: &str| {
            (1..=MAX_LABEL_BYTES).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.split('.').all(is_label) {
            return Err(TargetError::Name(shown));
        }
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        // Resolvers read 127.1, 2130706433, 0x7f.1 and 0177.0.0.1 as addresses. No top-level domain
        // is a number.
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TargetError::Number(shown));
        }
        Ok(Self::Name(name))
    }

    /// Returns whether the host is `domain` or a name below it.
    pub(super) fn is_within(&self, domain: &str) -> bool {
        match self {
            Self::Name(name) => name
                .strip_suffix(domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            Self::Address(_) => false,
        }
    }
}

/// Shortens a text and escapes it, since errors end up in status lines.
fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 100;
    let mut shown: String = text
        .chars()
        .take(MAX_CHARS)
        .flat_map(char::escape_default)
        .collect();
    if text.chars().count() > MAX_CHARS {
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

    fn normalized(text: &str) -> String {
        Target::parse(text, Some(80)).expect(text).to_string()
    }

    #[test]
    fn hosts_and_ports() {
        assert_eq!(normalized("Example.COM"), "example.com:80");
        assert_eq!(normalized("example.com."), "example.com:80");
        assert_eq!(normalized("example.com:8443"), "example.com:8443");
        assert_eq!(normalized("example.com:"), "example.com:80");
        assert_eq!(normalized("127.0.0.1."), "127.0.0.1:80");
        assert_eq!(normalized("[::1]"), "[::1]:80");
        assert_eq!(normalized("[2001:db8::1]:443"), "[2001:db8::1]:443");
        assert_eq!(
            normalized("xn--bcher-kva.example"),
            "xn--bcher-kva.example:80"
        );
        assert_eq!(normalized("a_b.example"), "a_b.example:80");
        assert_eq!(normalized("1password.com"), "1password.com:80");
        assert_eq!(normalized("0xample.com"), "0xample.com:80");
        assert!(Target::parse("example.com", None).is_err());
    }

    #[test]
    fn invalid_hosts_are_errors() {
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
            let parsed = Target::parse(bad, Some(80));
            assert!(parsed.is_err(), "{bad:?} {parsed:?}");
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
        fn any_text_parses_or_gives_an_error_that_fits_a_status_line(text in "\\PC{0,300}|[\\x00-\\x7f]{0,40}") {
            match Target::parse(&text, Some(80)) {
                Ok(target) => {
                    // The printed form parses to the same target.
                    prop_assert_eq!(Target::parse(&target.to_string(), None).expect("a target"), target);
                }
                Err(error) => prop_assert!(error.to_string().bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{}", error),
            }
        }

        #[test]
        fn no_name_is_one_that_resolvers_read_as_an_address(text in "[0-9xXa-f.]{1,20}") {
            if let Ok(Host::Name(name)) = Host::parse(&text) {
                let last = name.rsplit('.').next().expect("a label");
                prop_assert!(last.bytes().any(|byte| byte.is_ascii_alphabetic()));
                prop_assert!(!last.starts_with("0x") || last[2..].bytes().any(|byte| !byte.is_ascii_hexdigit()));
            }
        }
    }
}
