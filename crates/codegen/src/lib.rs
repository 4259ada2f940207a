//! Compiles an API document into a client, and a tool manifest into the tools of an MCP server.
//!
//! Both compilers are pure functions from texts to texts. A build script and tests call them.

#![forbid(unsafe_code)]

#[cfg(feature = "api")]
pub mod api;
#[cfg(feature = "manifest")]
pub mod manifest;

/// The examples of the README.
#[cfg(all(doctest, feature = "api", feature = "manifest"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
