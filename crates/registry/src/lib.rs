//! A client for container registries, after the OCI distribution specification and RFC 9110.
//!
//! It covers references, challenges, tokens, manifests, pulling and pushing. The crate
//! stores nothing.

#![forbid(unsafe_code)]

mod address_scope;
mod authorization;
mod challenge;
mod checking_resolver;
mod credential_check;
mod digest;
mod error;
mod host;
mod host_name;
mod login;
pub mod manifest;
mod named_server;
pub mod pull;
pub mod push;
mod reference;
mod tls;
mod token_page;
mod transport;

pub use authorization::authorize;
pub use challenge::{Challenge, challenges};
pub use credential_check::{CredentialCheck, check};
pub use digest::{Digest, DigestHasher};
pub use error::RegistryError;
pub use host::RegistryHost;
pub use login::{Login, SecretString};
pub use reference::{Reference, ReferenceError, is_tag};
pub use token_page::{TokenPage, token_page};
pub use transport::{HttpClients, read_bounded};
