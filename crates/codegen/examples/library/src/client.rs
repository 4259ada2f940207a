//! The generated client, its state and its hooks.

use progenitor_client::{ClientHooks, ClientInfo as _, OperationInfo};
use reqwest::header::{AUTHORIZATION, HeaderValue};

pub use generated::{Client, types};

/// The generated code. The attribute turns off lints that it does not follow.
#[allow(clippy::all, dead_code, mismatched_lifetime_syntaxes, unused_imports)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}

/// The state of a client: its credentials.
#[derive(Clone, Debug)]
pub struct Token(String);

impl Token {
    /// A token.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Client {
    /// Creates a client of the server at `url`.
    pub fn connect(url: &str, token: Token) -> Self {
        Self::new_with_client(url, reqwest::Client::new(), token)
    }
}

impl ClientHooks<Token> for Client {
    async fn pre<E>(
        &self,
        request: &mut reqwest::Request,
        _: &OperationInfo,
    ) -> Result<(), progenitor_client::Error<E>> {
        let Token(token) = self.inner();
        let value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|error| progenitor_client::Error::InvalidRequest(error.to_string()))?;
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }
}
