//! Hides what the record of a request must not keep: input, and variables that look like secrets.

use serde_json::Value;

use super::SpawnRequest;

/// The text that replaces a secret.
const MASK: &str = "***";

/// Parts of names whose variables are secrets.
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

/// Words between underscores whose variables are secrets.
const SECRET_WORDS: &[&str] = &["AUTH", "PASS", "PWD", "PAT", "DSN"];

/// Variables that have one of these words, and no secret.
const NO_SECRETS: &[&str] = &["PWD"];

impl SpawnRequest {
    /// The request as answers show it: without the values of secret variables.
    pub(crate) fn masked(&self) -> Self {
        let mut request = self.clone();
        for (name, value) in request.env.iter_mut().flatten() {
            if let Some(value) = value
                && is_secret(name, value)
            {
                *value = MASK.to_owned();
            }
        }
        request
    }

    /// The request as it is recorded: without secret variables and without the content of standard
    /// input.
    pub(crate) fn recorded(&self) -> Self {
        let mut request = self.masked();
        if let Some(stdin) = &mut request.stdin {
            stdin.value.clear();
        }
        request
    }
}

/// Masks secret variables in a recorded request. Earlier releases recorded their values.
pub(crate) fn mask_variables(request: &mut Value) {
    let variables = request.get_mut("env").and_then(Value::as_object_mut);
    for (name, value) in variables.into_iter().flatten() {
        if value.as_str().is_some_and(|text| is_secret(name, text)) {
            *value = Value::from(MASK);
        }
    }
}

/// Returns whether a variable looks like a secret: by its name, or because its value is a URL with
/// a password.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_named_secret = !NO_SECRETS.contains(&name.as_str())
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
    use serde_json::json;

    use super::super::tests::request;
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

    #[test]
    fn a_record_has_neither_secrets_nor_input() {
        let full = request(json!({
            "env": {"A": "1", "MY_TOKEN": "hunter2", "OLD_TOKEN": null},
            "stdin": {"value": "typed", "close": false},
        }));
        let shown = serde_json::to_value(full.masked()).unwrap();
        let env = json!({"A": "1", "MY_TOKEN": "***", "OLD_TOKEN": null});
        assert_eq!(shown["env"], env);
        assert_eq!(shown["stdin"]["value"], "typed");
        let recorded = serde_json::to_value(full.recorded()).unwrap();
        assert_eq!(recorded["env"], env);
        assert_eq!(recorded["stdin"]["value"], "");
        assert_eq!(recorded["stdin"]["close"], false);
        // The run itself gets both.
        assert_eq!(full.stdin_bytes().unwrap(), b"typed");
        let mut earlier = serde_json::to_value(&full).unwrap();
        mask_variables(&mut earlier);
        assert_eq!(earlier["env"], env);
    }
}
