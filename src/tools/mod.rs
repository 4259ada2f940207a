//! The tools: what an agent can do with sandboxes, whichever way it reaches them.
//!
//! Names, arguments, texts and hints stand in `tools.yaml`; the build turns them into the parameter structs, the
//! traits and the table included below. This module holds the handlers, one file for each toolset.

mod account;
mod answer;
mod arguments;
mod catalogue;
mod complete;
mod context;
mod convert;
mod error;
mod files;
mod followed;
mod guides;
mod images;
mod imports;
mod lineage;
mod local;
mod look;
mod offer;
mod operations;
mod output;
mod prompts;
mod registries;
mod resources;
pub mod results;
mod rsync;
mod run;
mod templates;
mod tool;

pub use answer::Answer;
pub use catalogue::{
    Body, Complete, Content, Guide, Kept, Prompt, PromptArgument, Resource, Variables, encoded,
    find_resource, unknown_resource,
};
pub use complete::{Completions, complete};
pub use context::{BackendInfo, Connect, Context, Pages, Quiet, Session, Shown, Stream, Watcher};
pub use error::ToolError;
pub(crate) use files::expanded;
pub use followed::{Followed, State, fingerprint, followed, now, stop};
pub use lineage::lineage;
pub use local::LocalAccess;
pub use offer::{Offer, toolset_names};
pub use prompts::unknown_prompt;
pub use templates::{facts, render};
pub use tool::{Arguments, Hints, Local, TaskSource, TaskTools, Tool, find_tool, unknown_tool};

use tool::{Schema, input_schema, output_schema};

/// The handlers of all tools. It has no state: what a call needs is in its [`Context`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Handlers;

include!(concat!(env!("OUT_DIR"), "/tools.rs"));
