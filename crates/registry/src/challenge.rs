//! What a server asks for with `WWW-Authenticate` (RFC 9110, section 11).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One way to authenticate that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Challenge {
    /// A token from somewhere else (RFC 6750, and the distribution specification's token authentication).
    Bearer {
        /// Where to ask for it.
        realm: String,
        /// For which service.
        service: Option<String>,
        /// With which rights.
        scope: Option<String>,
    },
    /// User and password (RFC 7617).
    Basic,
    /// Something else, by its name in lower case.
    Other(String),
}

/// The challenges of an answer, in their order. What cannot be read is left out.
pub fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        // Header values may hold any bytes; what matters here is ASCII.
        found.extend(parse(&String::from_utf8_lossy(value.as_bytes())));
    }
    found
}

/// Reads one field value, which may hold several challenges: `auth-scheme [ 1*SP ( token68 / #auth-param ) ]`, separated by
/// commas as the parameters are. A token that no `=` follows begins a challenge.
fn parse(value: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut input = Input(value);
    loop {
        input.skip(|c| c == ',' || c.is_ascii_whitespace());
        let Some(name) = input.token() else {
            // Not the beginning of anything: what follows the next comma may be.
            if input.skip_to_comma() {
                continue;
            }
            break;
        };
        let spaced = input.skip(|c| c == ' ' || c == '\t');
        if input.peek() == Some('=') && !found.is_empty() {
            input.bump();
            input.skip(|c| c == ' ' || c == '\t');
            let value = input.value();
            if let (Some(value), Some((_, parameters))) = (value, found.last_mut()) {
                parameters.push((name.to_ascii_lowercase(), value));
            }
            continue;
        }
        found.push((name.to_ascii_lowercase(), Vec::new()));
        if spaced {
            input.skip_token68();
        }
    }
    found.into_iter().filter_map(challenge).collect()
}

fn challenge((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let parameter = |name: &str| {
        let found = parameters.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    };
    match scheme.as_str() {
        "bearer" => Some(Challenge::Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
            scope: parameter("scope"),
        }),
        "basic" => Some(Challenge::Basic),
        _ => Some(Challenge::Other(scheme)),
    }
}

struct Input<'a>(&'a str);

impl Input<'_> {
    fn peek(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn bump(&mut self) {
        let mut rest = self.0.chars();
        rest.next();
        self.0 = rest.as_str();
    }

    /// Skips what fits; whether there was any.
    fn skip(&mut self, fits: impl Fn(char) -> bool) -> bool {
        let rest = self.0.trim_start_matches(fits);
        let skipped = rest.len() < self.0.len();
        self.0 = rest;
        skipped
    }

    fn token(&mut self) -> Option<String> {
        let end = self.0.find(|c| !is_tchar(c)).unwrap_or(self.0.len());
        if end == 0 {
            return None;
        }
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(token.to_owned())
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        if self.peek() != Some('"') {
            // Realms are URLs, and some servers forget to quote them.
            let end = self
                .0
                .find(|c: char| c == ',' || c.is_ascii_whitespace())
                .unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(value.to_owned()).filter(|value| !value.is_empty());
        }
        self.bump();
        let mut value = String::new();
        let mut escaped = false;
        let mut rest = self.0.chars();
        for c in rest.by_ref() {
            match c {
                _ if escaped => {
                    value.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    self.0 = rest.as_str();
                    return Some(value);
                }
                _ => value.push(c),
            }
        }
        // It never ends.
        self.0 = "";
        None
    }

    /// Skips a value without a name, as `Negotiate` has: letters, digits and `-._~+/`, then any number of `=`.
    fn skip_token68(&mut self) {
        let body = self
            .0
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
        let rest = body.trim_start_matches('=');
        let ends = rest.trim_start_matches([' ', '\t']);
        if body.len() < self.0.len() && (ends.is_empty() || ends.starts_with(',')) {
            self.0 = rest;
        }
    }

    fn skip_to_comma(&mut self) -> bool {
        match self.0.split_once(',') {
            Some((_, rest)) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
}

fn is_tchar(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn real_challenges_are_read() {
        for (value, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    None,
                )],
            ),
            (
                r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a/b:pull,push""#,
                vec![bearer(
                    "https://ghcr.io/token",
                    Some("ghcr.io"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            (
                r#"Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com""#,
                vec![Challenge::Basic],
            ),
            (r#"basic realm="x""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
        ] {
            assert_eq!(parse(value), expected, "{value}");
        }
    }

    #[test]
    fn several_challenges_stand_in_one_field() {
        // The example of RFC 9110, section 11.6.1.
        let value =
            r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#;
        assert_eq!(
            parse(value),
            [Challenge::Basic, Challenge::Other("newauth".into())]
        );
        let value = r#"Negotiate abc/+==, Bearer realm="https://t.example/", scope="a b" , Basic"#;
        assert_eq!(
            parse(value),
            [
                Challenge::Other("negotiate".into()),
                bearer("https://t.example/", None, Some("a b")),
                Challenge::Basic
            ]
        );
    }

    #[test]
    fn odd_spellings_are_read_too() {
        assert_eq!(
            parse(r#"BEARER Realm = "https://t/\"q\"" ,, service=s"#),
            [bearer("https://t/\"q\"", Some("s"), None)]
        );
        assert_eq!(
            parse("Bearer realm=https://t.example/token,service=s"),
            [bearer("https://t.example/token", Some("s"), None)]
        );
        for none in [
            "",
            ",",
            "Bearer",
            r#"Bearer realm="never ends"#,
            "=x",
            "\"x\"",
        ] {
            assert_eq!(parse(none), [], "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_hang_or_panic(value in ".{0,200}") {
            drop(parse(&value));
        }
    }
}
