//! The tools: what an agent can do with sandboxes, whichever way it reaches them.
//!
//! Names, arguments, texts and hints stand in `tools.yaml`; the build turns them into the parameter structs, the
//! traits and the table included below. This module holds the handlers, one file for each toolset.

mod account;
mod answer;
mod arguments;
mod context;
mod convert;
mod error;
mod files;
mod images;
mod operations;
mod output;
pub mod results;
mod run;
mod tool;

pub use answer::Answer;
pub use context::{BackendInfo, Connect, Context, Quiet, Session, Stream, Watcher};
pub use error::ToolError;
pub(crate) use files::expanded;
pub use tool::{Arguments, Hints, Local, Tool, unknown_tool};

use tool::{Schema, input_schema, output_schema};

/// The handlers of all tools. It has no state: what a call needs is in its [`Context`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Handlers;

include!(concat!(env!("OUT_DIR"), "/tools.rs"));
