//! The client and the types of the API, without what is written by hand around them.

mod generated;
mod operation;

pub use generated::{ByteStream, Client, ResponseValue, builder, types};
pub use operation::{OperationKind, OperationStatus};
