//! Handlers of the tools, one file for each toolset, and handlers of the resources.

mod account;
mod files;
mod guides;
mod images;
mod import;
mod operations;
mod processes;
mod push;
mod registries;
mod resources;
mod run;
mod run_plan;
mod target_process;
