//! Sandboxes that branch like git.
//!
//! A command runs in a sandbox of its own on an *image*, which is one filesystem state for ever. What the command changes
//! becomes a new image; the one it ran on stays as it was. So any earlier state can be gone back to, and any number of
//! commands can start from the same one.
//!
//! A [`Client`] talks to a Contree service:
//!
//! ```no_run
//! use contree::{Backend, Client, ImageRef, types::InstanceSpawnRequest};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let backend = Backend::new("https://contree.example/sandboxes")?.with_token("…");
//! let client = Client::connect(backend)?;
//!
//! let command = |image: ImageRef, command: &str| -> Result<InstanceSpawnRequest, _> {
//!     InstanceSpawnRequest::builder().image(image).command(command).shell(true).try_into()
//! };
//! let prepared = client.run(command("tag:ubuntu:noble".parse()?, "echo 42 > /answer")?).await?;
//! let image = prepared.result_image.ok_or("no result")?;
//!
//! // Two branches of the same image, which do not see each other.
//! let (one, two) = futures_util::try_join!(
//!     client.run(command(image.into(), "cat /answer; rm /answer")?),
//!     client.run(command(image.into(), "cat /answer")?),
//! )?;
//! assert_eq!((one.stdout.bytes, two.stdout.bytes), (b"42\n".to_vec(), b"42\n".to_vec()));
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//! - [`Client`] has a method for every operation of the API, which returns a builder from [`builder`]; `send()` sends the
//!   request. Beyond them it can [`run`](Client::run) a command and wait for its [`Outcome`], [`follow`](Client::follow) its
//!   [`events`], [`wait`](Client::wait) and [`cancel`](Client::cancel), upload files ([`upload_path`](Client::upload_path)),
//!   and read them from images ([`read`](Client::read), [`download`](Client::download)).
//! - [`types`] are the API's own.
//! - [`Backend`] says where, as whom, and how patiently.
//!
//! # What can be relied upon
//! Requests are repeated with growing pauses, or those that the backend asks for, where that is safe: reads, tags, cancels
//! and uploads after any failure, others only where the backend says that it has not acted upon them. A command is never
//! started twice. Broken streams of events are taken up where they were. Errors keep the status of the answer, whatever its
//! body, and show no credentials.
//!
//! # Features
//! The client is there without any, and none is on by default. `engine` (Linux only) is the embedded engine, which runs
//! sandboxes on this machine without a service; `mcp` is the MCP server and its tools, which the program `contree-mcp` serves.

#![forbid(unsafe_code)]
#![deny(rustdoc::broken_intra_doc_links)]

mod api;
mod backend;
#[cfg(feature = "mcp")]
#[doc(hidden)]
pub mod cli;
mod client;
#[cfg(feature = "mcp")]
#[doc(hidden)]
pub mod config;
mod error;
#[cfg(feature = "mcp")]
#[doc(hidden)]
pub mod mcp;
#[cfg(feature = "mcp")]
mod store;
#[cfg(feature = "mcp")]
#[doc(hidden)]
pub mod tools;

#[cfg(all(feature = "engine", target_os = "linux"))]
pub use contree_engine as engine;

pub use api::{ByteStream, Client, OperationKind, OperationStatus, ResponseValue, builder, types};
pub use backend::{Backend, RetryPolicy};
pub use client::{Captured, Content, Fold, ImageRef, Outcome, Run, events};
pub use error::Error;
