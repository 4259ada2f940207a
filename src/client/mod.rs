//! Hand-written additions to the generated client.

pub mod events;

mod answers;
mod archive_index;
mod archive_stream;
mod background;
mod bodies;
mod cancel;
mod connect;
mod deadline;
mod delete;
mod diff;
mod errors;
mod extensions;
mod files;
mod follow;
mod hooks;
mod http_clients;
mod image_ref;
mod images;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod local;
mod log;
mod new_file;
mod outcome;
mod ports;
mod process_output;
mod push;
#[cfg(feature = "push")]
mod push_archive;
mod redirects;
mod retry;
mod runs;
mod runtime;
mod snapshot;
mod sse;
mod terminal;

#[cfg(all(feature = "sync", unix))]
pub(crate) use archive_index::{ArchiveIndex, relative};
pub use cancel::CancelOnDrop;
pub(crate) use cancel::InBackground;
pub(crate) use connect::ClientState;
pub use diff::DiffRequest;
#[cfg(all(feature = "sync", unix))]
pub(crate) use diff::image_path;
#[cfg(feature = "testing")]
pub(crate) use files::sha256;
pub use image_ref::ImageRef;
pub use images::FileStream;
pub use log::LogRequest;
#[cfg(feature = "mcp")]
pub(crate) use log::{OriginMemory, RememberedOrigin};
#[cfg(feature = "mcp")]
pub(crate) use new_file::{NewFile, NewFileMode};
pub use outcome::{CapturedStream, Outcome, OutcomeBuilder};
pub use process_output::{OutputPart, OutputPosition, ProcessOutput};
pub use runs::Run;
pub(crate) use runtime::blocking;
