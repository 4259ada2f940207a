//! Dockerfiles: from their text to a plan of steps. Nothing here reads a file or runs a command.
//!
//! [`Dockerfile::parse`] reads the text, and [`Dockerfile::plan`] chooses the stages of a target.
//! [`StageState`] then turns each instruction into the [`Action`] that makes the next image.

mod error;
mod expand;
mod here_documents;
mod ignore_rules;
mod instruction;
mod parse;
mod plan;
mod stage_state;
mod variables;

pub(crate) use ignore_rules::{IgnoreRules, is_pattern, path_pattern};
pub(crate) use instruction::CopySource;
pub(crate) use plan::{Base, CopyFrom, Dockerfile, PlannedStage};
pub(crate) use stage_state::{Action, CopyAction, RunAction, StageState, join};
pub(crate) use variables::BuildArguments;
