//! Hand-written additions to the generated client.

pub mod events;

mod answers;
mod bodies;
mod connect;
mod errors;
mod files;
mod follow;
mod hooks;
mod image_ref;
mod images;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod local;
mod new_file;
mod outcome;
mod retry;
mod runs;
mod sse;

pub(crate) use connect::ClientState;
pub use image_ref::ImageRef;
pub use images::FileStream;
#[cfg(feature = "mcp")]
pub(crate) use new_file::NewFileMode;
pub use outcome::{CapturedStream, Outcome, OutcomeBuilder};
pub use runs::Run;
