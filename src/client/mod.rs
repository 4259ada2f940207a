//! Hand-written additions to the generated client.

pub mod events;

mod answers;
mod background;
mod bodies;
mod cancel;
mod connect;
mod deadline;
mod errors;
mod files;
mod follow;
mod hooks;
mod http_clients;
mod image_ref;
mod images;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod local;
mod new_file;
mod outcome;
mod redirects;
mod retry;
mod runs;
mod runtime;
mod sse;

pub use cancel::CancelOnDrop;
pub(crate) use connect::ClientState;
#[cfg(feature = "testing")]
pub(crate) use files::sha256;
pub use image_ref::ImageRef;
pub use images::FileStream;
pub use outcome::{CapturedStream, Outcome, OutcomeBuilder};
pub use runs::Run;
