//! What hand-written code adds to the generated client.

pub mod events;

mod bodies;
mod connect;
mod errors;
mod files;
mod fold;
mod follow;
mod frames;
mod hooks;
mod image_ref;
mod images;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod local;
mod retry;
mod runs;

pub(crate) use connect::ClientState;
pub use fold::{Captured, Fold, Outcome};
pub use image_ref::ImageRef;
pub use images::Content;
pub use runs::Run;
