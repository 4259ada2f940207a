//! Sandboxes that branch like git.
//!
//! Each command runs in its own sandbox on an *image*, an immutable snapshot of a filesystem. The
//! command's changes become a new image; the original one stays unchanged. A caller can return to
//! any earlier image, and start any number of commands from it.
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
//! let request = |image: ImageRef, command: &str| -> Result<InstanceSpawnRequest, _> {
//!     InstanceSpawnRequest::builder().image(image).command(command).shell(true).try_into()
//! };
//! let prepared = client.run(request("tag:ubuntu:noble".parse()?, "echo 42 > /answer")?).await?;
//! let image = prepared.result_image.ok_or("no result")?;
//!
//! // Two branches of the same image: neither sees the other's changes.
//! let (one, two) = futures_util::try_join!(
//!     client.run(request(image.into(), "cat /answer; rm /answer")?),
//!     client.run(request(image.into(), "cat /answer")?),
//! )?;
//! assert_eq!((one.stdout.bytes, two.stdout.bytes), (b"42\n".to_vec(), b"42\n".to_vec()));
//! # Ok(())
//! # }
//! ```
//!
//! # Overview
//! - [`Client`] has a method for every operation of the API. Each returns a builder from
//!   [`builder`], whose `send()` sends the request.
//! - Further methods of [`Client`] combine requests. They [`run`](Client::run) a command and wait
//!   for its [`Outcome`], [`follow`](Client::follow) its [`events`], [`wait`](Client::wait) for an
//!   operation and [`cancel`](Client::cancel) it.
//! - Files are uploaded with [`upload_path`](Client::upload_path), and read from images with
//!   [`read`](Client::read) and [`download`](Client::download).
//! - [`types`] holds the types of the API document.
//! - [`Backend`] holds the address, the credentials, the timeouts and the retry policy.
//!
//! # Guarantees
//! - Failed requests are retried where that is safe, with growing delays or after the backend's
//!   `Retry-After`.
//! - Reads, tags, cancels and uploads are retried after connection failures and server errors, also
//!   if the answer breaks off. Other requests are retried only if no connection was made, or if the
//!   backend reports that it has not acted on them.
//! - A command is never started twice. If its start may have taken effect although the answer was
//!   lost, [`Error::is_unconfirmed`] says so.
//! - A broken event stream resumes after the last event received, and the content of a file after
//!   the last byte.
//! - Every call has a time limit, and every answer but a file's content a limit of size; see
//!   [`Backend`] and `docs/reliability.md`. A backend that never ends an operation is an error once
//!   the operation's own time limit and a grace period are over.
//! - A client can be used in several Tokio runtimes at once. Outside of a runtime, calls return
//!   [`Error::NoRuntime`].
//! - [`CancelOnDrop`] cancels an operation whose handle is dropped, wherever that happens.
//! - Nothing is changed for the whole process: no signal handlers, limits, environment variables,
//!   loggers, panic hooks or TLS providers; see `docs/process.md`.
//! - An error keeps the status of the answer, whatever the body, and shows no credentials.
//!
//! # Features
//! No feature is on by default; the client needs none.
//!
//! - `engine` (Linux only): the embedded engine, which runs sandboxes on this machine without a
//!   service.
//! - `testing`: a stub service and a temporary engine for the tests of your program; see
//!   `testing`.
//! - `mcp`: the MCP server and its tools, which the program `contree-mcp` serves.

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
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "mcp")]
#[doc(hidden)]
pub mod tools;

#[cfg(all(feature = "engine", target_os = "linux"))]
pub use contree_engine as engine;

pub use api::{ByteStream, Client, OperationKind, OperationStatus, ResponseValue, builder, types};
pub use backend::{Backend, RetryPolicy};
pub use client::{
    CancelOnDrop, CapturedStream, FileStream, ImageRef, Outcome, OutcomeBuilder, Run, events,
};
pub use error::Error;
