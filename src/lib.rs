//! Sandboxes that branch like git.
//!
//! Each command runs in its own sandbox on an *image*, an immutable snapshot of a filesystem. The
//! command's changes become a new image; the original one stays unchanged. A caller can return to
//! any earlier image, and start any number of commands from it.
//!
//! With the feature `engine`, this runs on any Linux machine, without an account:
//!
//! ```
//! # #[cfg(not(all(feature = "engine", target_os = "linux")))]
//! # fn main() {}
//! # #[cfg(all(feature = "engine", target_os = "linux"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), contree::Error> {
//! # let folder = tempfile::tempdir().map_err(contree::Error::other)?;
//! # let data_directory = folder.path().join("data");
//! let client = contree::Client::local(data_directory).await?;
//! let base = client.image("tag:host");
//! let prepared = base.shell("echo 42 > /answer").await?.ok()?.image;
//!
//! // Two branches of the same image: neither sees the other's changes.
//! let one = prepared.shell("cat /answer; rm /answer").await?.ok()?;
//! let two = prepared.shell("cat /answer").env("CI", 1).await?.ok()?;
//! assert_eq!((one.stdout.text()?, two.stdout.text()?), ("42\n", "42\n"));
//! assert_eq!(prepared.fs().text("/answer").await?, "42\n");
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::from_env`] connects to a Contree service instead, if the environment names one.
//!
//! # Overview
//! - An [`Image`] makes a [`Command`] with [`shell`](Image::shell) or [`exec`](Image::exec).
//!   Awaiting it runs it to its end and returns an [`Output`]. [`spawn`](Command::spawn) returns a
//!   [`Running`] command, with its input, events, signals and further processes.
//! - A [`Session`] runs one command after the other, goes back, branches, and survives the process.
//!   [`best_of`] tries candidates on one image.
//! - [`Image::fs`] reads files without a sandbox. [`Client::import`] brings images, and
//!   [`Client::images`], [`Client::operations`] and [`Client::files`] list what a backend has.
//! - [`Error`] is the only error type.
//!
//! Dropping the future of a run, or its handle, cancels the run on the backend; `detach` leaves it.
//! `docs/sdk.md` has a section for each use.
//!
//! Below these terms is the generated client:
//!
//! - [`Client`] has a method for every operation of the API. Each returns a builder from
//!   [`builder`], whose `send()` sends the request. [`types`] holds the types of the API document.
//! - Further methods of [`Client`] combine requests: [`run`](Client::run),
//!   [`follow`](Client::follow), [`wait`](Client::wait) and [`cancel`](Client::cancel). These do
//!   not cancel anything when they are dropped.
//! - [`log`](Client::log) lists what an image was made from, and [`diff`](Client::diff) the files
//!   that differ between two images, also as a patch.
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
//! - `profiles`: the profile files that the Contree clients share, for [`Client::from_env`] and
//!   `Client::from_profile`.
//! - `sync`: sending local directories (`Client::upload_dir`) and unpacking directories of images
//!   (`ImageFiles::unpack`).
//! - `push`: pushing images of backends that cannot push themselves.
//! - `lineage`: the ancestors and children of an image (`Image::lineage`).
//! - `engine` (Linux only): the embedded engine, which runs sandboxes on this machine without a
//!   service.
//! - `testing`: a stub service and a temporary engine for the tests of your program; see
//!   `testing`.
//! - `mcp`: the MCP server and its tools, which the program `contree-mcp` serves.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(rustdoc::broken_intra_doc_links)]

mod api;
mod backend;
#[cfg(feature = "mcp")]
#[doc(hidden)]
pub mod cli;
mod client;
#[doc(hidden)]
pub mod config;
#[cfg(feature = "mcp")]
mod dockerfile;
mod domain;
mod error;
#[cfg(feature = "lineage")]
mod lineage;
#[cfg(all(feature = "sync", unix))]
mod local_copy;
#[cfg(feature = "mcp")]
#[doc(hidden)]
pub mod mcp;
mod output;
#[cfg(feature = "mcp")]
mod store;
#[cfg(feature = "sync")]
mod sync;
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
    CancelOnDrop, CapturedStream, DiffRequest, FileStream, ImageRef, LogRequest, Outcome,
    OutcomeBuilder, OutputPart, OutputPosition, ProcessOutput, Run, events,
};
pub use contree_error_codes::ErrorCode;
#[cfg(all(feature = "sync", unix))]
pub use domain::Apply;
pub use domain::{
    Attached, Best, Changes, ClientBuilder, Command, Content, Discard, Events, Exec, FileEntry,
    FileInfo, FileKind, FileReader, Files, Grep, Image, ImageFiles, ImageInfo, Images, Import,
    ImportProgress, Input, Keep, Match, Matches, OperationInfo, Operations, Output, Process,
    ResultImage, Running, Session, SessionCommand, Stdin, Step, Terminal, TerminalOutput, Time,
    ToText, best_of, best_of_until,
};
#[cfg(feature = "lineage")]
pub use domain::{Lineage, Origin};
#[cfg(feature = "sync")]
pub use domain::{SkippedPath, Tree, Unpacked, UploadDir};
pub use error::{Error, Reason};
#[cfg(all(feature = "sync", unix))]
pub use local_copy::{Applied, Conflicts, PathReason};
pub use output::{
    Captured, ExitStatus, NotUtf8, PartialOutput, Resources, RunOutput, Signal, UnknownSignal,
};
