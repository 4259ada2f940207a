//! Finds variables that look like secrets, so that their values are not shown.

/// The text that replaces a secret.
pub const MASK: &str = "***";

/// Texts that mark a variable as a secret if its name contains them.
const SECRET_PARTS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "AUTHORIZATION",
    "COOKIE",
];

/// Words that mark a variable as a secret if its name has them as whole words. Some are two words
/// that many names write as one.
const SECRET_WORDS: &[&str] = &[
    "AUTH",
    "PASS",
    "PWD",
    "PAT",
    "DSN",
    "KEY",
    "KEYS",
    "APIKEY",
    "ACCESSKEY",
    "AUTHKEY",
    "ENCRYPTIONKEY",
    "MASTERKEY",
    "PRIVATEKEY",
    "SIGNINGKEY",
    "SSHKEY",
    "SSHPASS",
];

/// Variables that have such a name, but are not secrets.
const NOT_SECRET: &[&str] = &["PWD"];

/// Returns whether a variable looks like a secret: by its name, or because its value is a URL with
/// a password.
#[must_use]
pub fn is_secret(name: &str, value: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let is_named_secret = !NOT_SECRET.contains(&upper.as_str())
        && (SECRET_PARTS.iter().any(|part| upper.contains(part))
            || words(name)
                .iter()
                .any(|word| SECRET_WORDS.contains(&word.as_str())));
    !value.is_empty() && (is_named_secret || has_password(value))
}

/// The words of a name in upper case. A word ends at a sign, at a digit, and where the case
/// changes: `aws_s3-AccessKeyID` has `AWS`, `S`, `3`, `ACCESS`, `KEY` and `ID`.
fn words(name: &str) -> Vec<String> {
    let characters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (position, character) in characters.iter().enumerate() {
        let before = position.checked_sub(1).map(|before| characters[before]);
        let after = characters.get(position + 1);
        let begins = before.is_some_and(|before| {
            before.is_numeric() != character.is_numeric()
                || character.is_uppercase()
                    && (!before.is_uppercase() || after.is_some_and(|c| c.is_lowercase()))
        });
        if begins || !character.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (character.is_alphanumeric(), words.last_mut()) {
            word.extend(character.to_uppercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
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
            ("KEY", "x"),
            ("API-KEY", "x"),
            ("apiKey", "x"),
            ("AWSAccessKeyId", "x"),
            ("SSH_KEYS", "x"),
            ("API_KEY2", "x"),
            ("OPENAI_APIKEY", "x"),
            ("DATABASE_URL", "postgres://user:hunter2@db/app"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("PATH", "/bin"),
            ("PWD", "/work"),
            ("GIT_AUTHOR_NAME", "A"),
            ("COMPASS", "north"),
            ("MONKEY", "x"),
            ("monkey_count", "3"),
            ("KEYBOARD_LAYOUT", "us"),
            ("keymap", "x"),
            ("Turkey", "x"),
            ("INDEX_URL", "https://user@host/simple?next=a:b@c"),
            ("API_KEY", ""),
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
    }
}
