//! What hand-written code adds to the generated client.

pub mod events;

mod backend;
mod bodies;
mod connect;
mod errors;
mod files;
mod fold;
mod follow;
mod frames;
mod hooks;
mod images;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod local;
mod retry;
mod runs;
mod values;

pub use backend::Backend;
pub(crate) use connect::State;
pub use fold::{Captured, Fold, Outcome};
pub use images::Content;
pub use retry::RetryPolicy;
pub use runs::Run;
pub use values::{ImageRef, OperationKind, OperationStatus};
