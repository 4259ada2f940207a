//! Compiles an API document into a client and a server's types, and a tool manifest into the tools
//! of an MCP server.
//!
//! The compilers are pure functions from texts to texts. Build scripts and tests call them.

#![forbid(unsafe_code)]

#[cfg(feature = "api")]
pub mod api;
#[cfg(any(feature = "manifest", feature = "server"))]
mod expansion;
#[cfg(any(feature = "api", feature = "manifest", feature = "server"))]
pub mod extensions;
#[cfg(feature = "manifest")]
pub mod manifest;
#[cfg(any(feature = "api", feature = "manifest", feature = "server"))]
mod markdown;
#[cfg(any(feature = "manifest", feature = "server"))]
mod merge;
#[cfg(any(feature = "api", feature = "manifest", feature = "server"))]
mod references;
#[cfg(feature = "server")]
pub mod server;

/// The examples of the README.
#[cfg(all(doctest, feature = "api", feature = "manifest"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
