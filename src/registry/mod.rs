//! Container registries: their names, their challenges and their tokens, as the OCI distribution specification and RFC 9110
//! have them. Nothing is stored here.

#![allow(
    dead_code,
    unused_imports,
    reason = "the tools use one part and the embedded engine another, and each is a feature"
)]

mod challenge;
mod check;
mod digest;
mod error;
mod host;
mod http;
mod login;
pub(crate) mod manifest;
mod pages;
pub(crate) mod pull;
mod reference;
mod token;

pub(crate) use challenge::{Challenge, challenges};
pub(crate) use check::{Access, check};
pub(crate) use digest::Digest;
pub(crate) use error::RegistryError;
pub(crate) use host::Host;
pub(crate) use http::{Http, bounded};
pub(crate) use login::{Login, Secret};
pub(crate) use pages::{TokenPage, token_page};
pub(crate) use reference::{BadReference, Reference, is_tag};
pub(crate) use token::authorize;
