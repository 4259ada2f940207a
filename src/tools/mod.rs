//! The tools: operations on sandboxes that agents call over MCP or the command line.
//!
//! `tools.yaml` defines names, arguments, texts and hints. The build turns it into parameter
//! structs, traits and the table included below. `handlers` implements the traits; the other
//! modules support it.

mod answer;
mod apply;
mod argument_problem;
mod arguments;
mod catalogue;
mod complete;
mod context;
mod convert;
mod directory_download;
mod disk_usage;
mod docker_login;
mod error;
mod error_details;
mod fence;
mod handlers;
mod image;
mod image_cache;
mod interaction;
mod invisible;
mod lineage;
mod local_access;
mod operation;
mod operation_end;
mod operation_status;
mod output;
mod output_cut;
mod paths;
mod prompts;
mod registry_login;
pub mod results;
mod rsync;
mod saved_file;
mod schema;
mod selection;
mod session;
mod suggestion;
mod templates;
mod tool;
mod watcher;
mod writing;

pub use answer::{PageRequest, ToolAnswer};
pub(crate) use apply::{ChangesToApply, apply_changes};
pub use arguments::Arguments;
pub use catalogue::{
    CacheLifetime, CompletionSource, ContentBody, Guide, Prompt, PromptArgument, Resource,
    ResourceContent, UriVariables, encode_uri_part, find_resource, unknown_resource,
};
pub use complete::{Completions, complete};
pub use context::{Context, PageOutcome, PagePresenter};
pub(crate) use disk_usage::DiskUsage;
#[cfg(all(feature = "engine", target_os = "linux"))]
pub(crate) use disk_usage::{DiskUsageReader, ImageSize};
pub use error::ToolError;
pub use error_details::ErrorDetails;
pub(crate) use invisible::{one_line, visible, visible_json};
pub use lineage::lineage;
pub use local_access::{AllowedPathError, LocalAccess};
pub use operation_status::{
    OperationSnapshot, OperationState, fingerprint, now, operation_snapshot, stop_operation,
};
pub(crate) use output::take_complete_characters;
pub use prompts::unknown_prompt;
pub(crate) use registry_login::{LoginOutcome, log_in, stored as stored_login};
pub(crate) use rsync::{PlacedFiles, gone_since_placed, remember_placed};
pub(crate) use schema::required_names;
pub use selection::{SelectionError, ToolSelection, toolset_names};
pub use session::{BackendInfo, ClientFactory, Session};
pub(crate) use suggestion::{brief, nearest};
pub use templates::{facts, render};
pub use tool::{LocalFileUse, TaskSource, TaskTools, Tool, ToolHints, find_tool, unknown_tool};
pub use watcher::{OutputStream, SilentWatcher, Watcher};

use schema::{Schema, input_schema, output_schema};

/// Handlers of all tools. Stateless: a call's state is in its [`Context`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Handlers;

include!(concat!(env!("OUT_DIR"), "/tools.rs"));
