//! References to images: `docker://ghcr.io/a/b:tag@sha256:…`, `alpine`, `localhost:5000/x`.

use std::fmt;
use std::str::FromStr;

use super::host_name::is_host;
use super::{Digest, RegistryHost};

/// The longest name of a repository (distribution specification, "Pulling manifests").
const MAX_NAME_BYTES: usize = 255;
/// The longest tag.
const MAX_TAG_BYTES: usize = 128;

/// A reference to an image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    host: RegistryHost,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The error for a text that is not a reference. It never carries a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` does not name an image: {why}")]
pub struct ReferenceError {
    input: String,
    why: String,
}

impl Reference {
    /// The registry.
    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// The repository, with the implicit `library/` of Docker Hub.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest that the image must have, if the reference states one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag, if the reference states one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest or tag to request from the registry: the digest if there is one, else the tag,
    /// else `latest`.
    pub fn tag_or_digest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let invalid = |input: &str, why: &str| ReferenceError {
            input: input.chars().take(300).collect(),
            why: why.to_owned(),
        };
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => rest,
            Some((scheme, _)) => {
                let scheme: String = scheme.chars().take(20).collect();
                return Err(invalid(
                    &format!("{scheme}://…"),
                    "write docker://HOST/NAME:TAG, or HOST/NAME:TAG alone",
                ));
            }
            None => text,
        };
        // The text before an `@` in the host may be a password.
        let (first, has_path) = match rest.split_once('/') {
            Some((first, _)) => (first, true),
            None => (rest, false),
        };
        let has_digest = !has_path
            && rest.split_once('@').is_some_and(|(_, d)| {
                ["sha", "md5:", "blake"]
                    .iter()
                    .any(|algorithm| d.starts_with(algorithm))
            });
        if first.contains('@') && !has_digest {
            return Err(invalid(
                rest.rsplit('@').next().unwrap_or_default(),
                "leave out the user and password, and give them as `credentials`",
            ));
        }
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|why| invalid(rest, why))?;
                (name, Some(digest))
            }
            None => (rest, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((first, path)) if is_host(first, true) => (Some(first), path),
            _ => (None, name),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(invalid(
                rest,
                "a tag has at most 128 letters, digits, `_`, `-` and `.`, and does not begin with `-` or `.`",
            ));
        }
        let host = match host {
            Some(host) => RegistryHost::new(host)
                .map_err(|_| invalid(rest, "its registry is not HOST or HOST:PORT"))?,
            None => RegistryHost::hub(),
        };
        if path.is_empty() {
            return Err(invalid(rest, "the image's name is missing"));
        }
        if !is_repository_name(path) {
            return Err(invalid(
                rest,
                "a name has parts of lower-case letters and digits, joined by `.`, `_`, `__` or `-`, with `/` between the parts",
            ));
        }
        let repository = if host == RegistryHost::hub() && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        Ok(Self {
            host,
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        match (&self.tag, &self.digest) {
            (tag, Some(digest)) => {
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                write!(f, "@{digest}")
            }
            (Some(tag), None) => write!(f, ":{tag}"),
            (None, None) => f.write_str(":latest"),
        }
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("docker") || scheme.eq_ignore_ascii_case("oci")
}

/// Returns whether a text is a valid tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution
/// specification).
pub fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_TAG_BYTES).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

/// Returns whether a text is a valid repository name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/…)*`
/// (distribution specification).
fn is_repository_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES && name.split('/').all(is_component)
}

fn is_component(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !part.starts_with(word) || !part.ends_with(word) {
        return false;
    }
    part.split(word).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.chars().all(|c| c == '-')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(text: &str) -> String {
        text.parse::<Reference>()
            .map_or_else(|error| error.to_string(), |reference| reference.to_string())
    }

    #[test]
    fn references_as_people_write_them() {
        for (input, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("bitnami/redis:7", "docker.io/bitnami/redis:7"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            (
                "docker://index.docker.io/library/alpine:3",
                "docker.io/library/alpine:3",
            ),
            (
                "docker://registry-1.docker.io/alpine",
                "docker.io/library/alpine:latest",
            ),
            ("oci://ghcr.io/a/b/c:1.2-rc_3", "ghcr.io/a/b/c:1.2-rc_3"),
            ("DOCKER://ghcr.io/a/b", "ghcr.io/a/b:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("127.0.0.1:5000/x/y:z", "127.0.0.1:5000/x/y:z"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("registry:5000/x__y.z--w:1", "registry:5000/x__y.z--w:1"),
        ] {
            assert_eq!(read(input), full, "{input}");
            // The full form parses to itself.
            assert_eq!(read(full), full);
        }
        for name in [
            "alpine",
            "alpine:3",
            "ghcr.io/a/b",
            "ghcr.io/a/b:1",
            "localhost:5000/x",
        ] {
            let reference: Reference = format!("{name}@{DIGEST}").parse().unwrap();
            assert_eq!(reference.tag_or_digest(), DIGEST);
            assert_eq!(reference.digest().unwrap().to_string(), DIGEST);
        }
    }

    #[test]
    fn invalid_references_are_errors() {
        for (input, word) in [
            ("", "missing"),
            ("docker://", "missing"),
            ("ghcr.io/", "missing"),
            ("https://ghcr.io/a/b", "docker://"),
            ("Alpine", "lower-case"),
            ("a//b", "lower-case"),
            ("a/../b", "lower-case"),
            ("a___b", "lower-case"),
            ("a b", "lower-case"),
            ("alpine?x=1", "lower-case"),
            ("alpine:", "tag"),
            ("alpine:-x", "tag"),
            ("alpine:a b", "tag"),
            ("alpine@sha256:12", "64"),
            ("alpine@md5:12", "sha256"),
            ("r.example:99999/x", "HOST:PORT"),
        ] {
            let error = read(input);
            assert!(
                error.contains("does not name an image") && error.contains(word),
                "{input}: {error}"
            );
        }
        assert!(read(&"x".repeat(300)).contains("lower-case"));
        assert!(read(&format!("a:{}", "x".repeat(129))).contains("tag"));
    }

    #[test]
    fn errors_contain_no_passwords() {
        for input in [
            "docker://user:hunter2@ghcr.io/a/b:1",
            "user:hunter2@ghcr.io/a/b",
            "docker://user:hunter2@localhost:5000/x",
            "docker://hunter2@ghcr.io",
        ] {
            let error = read(input);
            assert!(
                error.contains("credentials") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_an_error(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again.to_string(), reference.to_string());
                prop_assert!(!reference.repository().contains(".."));
            }
        }

        #[test]
        fn well_formed_names_are_parsed(host in "[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{1,3})?", name in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?){0,3}", tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}") {
            let text = format!("{host}/{name}:{tag}");
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(reference.tag_or_digest(), tag);
            prop_assert!(reference.repository().ends_with(&name));
        }
    }
}
