//! A client for container registries, after the OCI distribution specification and RFC 9110.
//!
//! It covers references, challenges, tokens, manifests and pulling. The crate stores nothing.

#![forbid(unsafe_code)]

mod challenge;
mod check;
mod digest;
mod error;
mod host;
mod host_name;
mod login;
pub mod manifest;
mod pages;
pub mod pull;
mod reference;
mod tls;
mod token;
mod transport;

pub use challenge::{Challenge, challenges};
pub use check::{CredentialCheck, check};
pub use digest::Digest;
pub use error::RegistryError;
pub use host::RegistryHost;
pub use login::{Login, SecretString};
pub use pages::{TokenPage, token_page};
pub use reference::{Reference, ReferenceError, is_tag};
pub use token::authorize;
pub use transport::{HttpClients, read_bounded};
