//! The generated client and types of the API, and two enumerations written by hand.

mod generated;
mod operation;

pub use generated::{ByteStream, Client, ResponseValue, builder, types};
pub use operation::{OperationKind, OperationStatus};
