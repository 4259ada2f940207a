//! The rules of `.dockerignore`, and the patterns of `COPY`.
//!
//! They differ from those of `.gitignore`. A pattern begins at the root of the directory, and the
//! last pattern that matches decides. An exception may bring back a file of an excluded directory.

use globset::{GlobBuilder, GlobMatcher};

use crate::sync::escape_braces;

/// The rules of a `.dockerignore` file.
#[derive(Debug, Default)]
pub(crate) struct IgnoreRules(Vec<IgnoreRule>);

#[derive(Debug)]
struct IgnoreRule {
    matcher: GlobMatcher,
    is_exception: bool,
}

impl IgnoreRules {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// The first line that is not a pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (line, is_exception) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), true),
                None => (line, false),
            };
            let pattern = clean(line);
            if pattern.is_empty() {
                continue;
            }
            let pattern = whole_components(&pattern);
            let matcher = path_pattern(&pattern).ok_or_else(|| line.to_owned())?;
            rules.push(IgnoreRule {
                matcher,
                is_exception,
            });
        }
        Ok(Self(rules))
    }

    /// Whether a path below the directory is excluded. Its separator is `/`.
    pub(crate) fn exclude(&self, path: &str) -> bool {
        let mut is_excluded = false;
        for rule in &self.0 {
            if rule.is_exception == is_excluded && rule.matches(path) {
                is_excluded = !rule.is_exception;
            }
        }
        is_excluded
    }

    /// Whether something in an excluded directory may be brought back.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.0.iter().any(|rule| rule.is_exception)
    }
}

impl IgnoreRule {
    /// Whether the pattern matches a path, or a directory in which the path is.
    fn matches(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(end, _)| end);
        ends.chain([path.len()])
            .any(|end| self.matcher.is_match(&path[..end]))
    }
}

/// Whether a source of `COPY` is a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// The matcher of a pattern. `*` does not match `/`, and braces are ordinary characters.
pub(crate) fn path_pattern(pattern: &str) -> Option<GlobMatcher> {
    let escaped = escape_braces(pattern);
    let glob = GlobBuilder::new(&escaped)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    Some(glob.ok()?.compile_matcher())
}

/// Makes each `**` at the beginning of a component a component by itself.
///
/// As for Docker, `**` stands for any directories. Only at the beginning of a pattern without other
/// wildcards may the rest also be the end of a name: `**.env` matches `deploy/prod.env`.
fn whole_components(pattern: &str) -> String {
    if let Some(rest) = pattern.strip_prefix("**")
        && !rest.is_empty()
        && !rest.starts_with('/')
        && !is_pattern(rest)
    {
        return format!("**/*{rest}");
    }
    let parts = pattern
        .split('/')
        .map(|part| match part.strip_prefix("**") {
            Some(rest) if !rest.is_empty() => format!("**/{rest}"),
            _ => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join("/")
}

/// A pattern without slashes around it, and without `.` and `..`.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_docker() {
        let rules = IgnoreRules::parse(
            "# comment\n*.log\n**/*.tmp\n/target/\nnode_modules\n!node_modules/keep\ndocs\n!docs/*.md\ndocs/secret.md\na?c\n{x}\n\n*/temp*\n",
        )
        .unwrap();
        for (path, expected) in [
            ("x.log", true),
            ("deep/x.log", false),
            ("x.tmp", true),
            ("deep/er/x.tmp", true),
            ("target", true),
            ("target/debug/a", true),
            ("deep/target", false),
            ("node_modules/a", true),
            ("node_modules/keep", false),
            ("node_modules/keep/file", false),
            ("docs/a.md", false),
            ("docs/a.txt", true),
            ("docs/secret.md", true),
            ("abc", true),
            ("a/c", false),
            ("{x}", true),
            ("x", false),
            ("one/temporary/f", true),
            ("one/two/temp", false),
            ("src/main.rs", false),
        ] {
            assert_eq!(rules.exclude(path), expected, "{path}");
        }
        assert!(rules.has_exceptions());
    }

    #[test]
    fn two_stars_before_a_name_stand_for_directories() {
        let rules = IgnoreRules::parse("**.env\n**cache*\nkeys/**.pem\n").unwrap();
        for (path, expected) in [
            (".env", true),
            ("prod.env", true),
            ("deploy/.env", true),
            ("deploy/eu/prod.env", true),
            ("deploy/prod.env.example", false),
            ("cache1", true),
            ("deep/er/cache1/file", true),
            ("deep/mycache", false),
            ("keys/.pem", true),
            ("keys/deep/er/.pem", true),
            ("keys/a.pem", false),
        ] {
            assert_eq!(rules.exclude(path), expected, "{path}");
        }
    }

    #[test]
    fn everything_but_exceptions_may_be_excluded() {
        let rules = IgnoreRules::parse("*\n!src\n!Cargo.*\n").unwrap();
        assert!(rules.exclude("README.md") && rules.exclude(".git/config"));
        assert!(!rules.exclude("src/deep/main.rs") && !rules.exclude("Cargo.toml"));
        assert_eq!(IgnoreRules::parse("ok\n[z-a]\n").unwrap_err(), "[z-a]");
    }
}
