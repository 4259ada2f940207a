//! Finds variables that look like secrets, so that their values are not shown.

/// The text that replaces a secret.
pub const MASK: &str = "***";

/// Texts that mark a variable as a secret if its name contains them.
const SECRET_PARTS: &[&str] = &[
    "TOKEN",
    "KEY",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "AUTHORIZATION",
    "COOKIE",
];

/// Words that mark a variable as a secret if its name has them between underscores.
const SECRET_WORDS: &[&str] = &["AUTH", "PASS", "PWD", "PAT", "DSN"];

/// Variables that have such a name, but are not secrets.
const NOT_SECRET: &[&str] = &["PWD"];

/// Returns whether a variable looks like a secret: by its name, or because its value is a URL with
/// a password.
#[must_use]
pub fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_named_secret = !NOT_SECRET.contains(&name.as_str())
        && (SECRET_PARTS.iter().any(|part| name.contains(part))
            || name.split('_').any(|word| SECRET_WORDS.contains(&word)));
    !value.is_empty() && (is_named_secret || has_password(value))
}

/// Returns whether a text is a URL with a password, such as `postgres://user:password@host/`.
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_look_like_secrets_are_masked() {
        for (name, value) in [
            ("GITHUB_TOKEN", "x"),
            ("api_key", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("PgPassword", "x"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "x"),
            ("DB_PASS", "x"),
            ("MYSQL_PWD", "x"),
            ("PROXY_AUTH", "x"),
            ("DATABASE_URL", "postgres://user:hunter2@db/app"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("PATH", "/bin"),
            ("PWD", "/work"),
            ("GIT_AUTHOR_NAME", "A"),
            ("COMPASS", "north"),
            ("INDEX_URL", "https://user@host/simple?next=a:b@c"),
            ("API_KEY", ""),
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
    }
}
