//! Credentials, kept out of every log.

use std::fmt;

/// A text that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for a request or a file that only its owner reads.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How to log in to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A user with a password or an access token.
    Password {
        /// The account.
        username: String,
        /// Its password or token.
        secret: Secret,
    },
    /// A refresh token, which other programs call an identity token.
    Identity(Secret),
}

impl Login {
    /// A user with a password or an access token.
    pub fn password(username: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::Password {
            username: username.into(),
            secret: Secret::new(secret),
        }
    }
}
