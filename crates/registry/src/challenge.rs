//! Parses the challenges in `WWW-Authenticate` (RFC 9110, section 11).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One way to authenticate that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Challenge {
    /// A token from a token server (RFC 6750, and the distribution specification's token
    /// authentication).
    Bearer {
        /// The URL of the token server.
        realm: String,
        /// The service that the token is for.
        service: Option<String>,
        /// The rights that the token must have.
        scope: Option<String>,
    },
    /// User and password (RFC 7617).
    Basic,
    /// Another scheme, by its name in lower case.
    Other(String),
}

/// Parses the challenges of a response, in order. Malformed ones are omitted.
pub fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut all = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        // Header values may hold any bytes; challenges are ASCII.
        all.extend(parse(&String::from_utf8_lossy(value.as_bytes())));
    }
    all
}

/// Parses one field value. It may hold several challenges: `auth-scheme [ 1*SP ( token68 /
/// #auth-param ) ]`. Commas separate the challenges as well as their parameters, so a token without
/// a following `=` begins a challenge.
fn parse(value: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut input = ChallengeParser(value);
    loop {
        input.skip(|c| c == ',' || c.is_ascii_whitespace());
        let Some(name) = input.token() else {
            // After malformed input, parsing continues after the next comma.
            if input.skip_to_comma() {
                continue;
            }
            break;
        };
        let has_space = input.skip(|c| c == ' ' || c == '\t');
        if input.peek() == Some('=') && !schemes.is_empty() {
            input.bump();
            input.skip(|c| c == ' ' || c == '\t');
            let value = input.value();
            if let (Some(value), Some((_, parameters))) = (value, schemes.last_mut()) {
                parameters.push((name.to_ascii_lowercase(), value));
            }
            continue;
        }
        schemes.push((name.to_ascii_lowercase(), Vec::new()));
        if has_space {
            input.skip_token68();
        }
    }
    schemes.into_iter().filter_map(challenge).collect()
}

/// Builds a challenge from its scheme and parameters.
fn challenge((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let parameter = |wanted: &str| {
        let parameter = parameters.iter().find(|(name, _)| name == wanted);
        parameter
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

/// The unparsed rest of a field value.
struct ChallengeParser<'a>(&'a str);

impl ChallengeParser<'_> {
    fn peek(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn bump(&mut self) {
        let mut rest = self.0.chars();
        rest.next();
        self.0 = rest.as_str();
    }

    /// Skips the characters that match. Returns whether there were any.
    fn skip(&mut self, matches: impl Fn(char) -> bool) -> bool {
        let rest = self.0.trim_start_matches(matches);
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

    /// Parses a token or a quoted string.
    fn value(&mut self) -> Option<String> {
        if self.peek() != Some('"') {
            // Realms are URLs, and some servers do not quote them.
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
        // The closing quote is missing.
        self.0 = "";
        None
    }

    /// Skips a `token68`, a value without a name as in `Negotiate`: letters, digits and `-._~+/`,
    /// then any number of `=`.
    fn skip_token68(&mut self) {
        let body = self
            .0
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
        let rest = body.trim_start_matches('=');
        let after = rest.trim_start_matches([' ', '\t']);
        if body.len() < self.0.len() && (after.is_empty() || after.starts_with(',')) {
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
    fn one_field_may_hold_several_challenges() {
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
        for invalid in [
            "",
            ",",
            "Bearer",
            r#"Bearer realm="never ends"#,
            "=x",
            "\"x\"",
        ] {
            assert_eq!(parse(invalid), [], "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_hang_or_panic(value in ".{0,200}") {
            drop(parse(&value));
        }
    }
}
