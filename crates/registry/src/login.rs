//! Credentials that never appear in logs.

use std::fmt;

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretString(String);

impl SecretString {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for a request or for a file that only its owner may read.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// The credentials for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A user with a password or an access token.
    Password {
        /// The account.
        username: String,
        /// Its password or token.
        secret: SecretString,
    },
    /// A refresh token, which other programs call an identity token.
    Identity(SecretString),
}

impl Login {
    /// Credentials of a user with a password or an access token.
    pub fn password(username: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::Password {
            username: username.into(),
            secret: SecretString::new(secret),
        }
    }
}
