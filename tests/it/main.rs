//! The program, the SDK and the embedded engine from outside, one module for each capability.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(target_os = "linux")]
mod apply;
mod architecture;
mod book;
mod call;
mod config;
mod documents;
#[cfg(target_os = "linux")]
mod download_directory;
#[cfg(target_os = "linux")]
mod engine;
mod error_codes;
#[cfg(target_os = "linux")]
mod extensions;
mod guides;
mod hostile;
mod install;
#[cfg(target_os = "linux")]
mod lineage;
#[cfg(target_os = "linux")]
mod living;
mod local_files;
mod lost_answers;
mod mcp_cloud;
mod mcp_http;
mod mcp_stdio;
mod mcp_surface;
mod mcp_tasks;
mod openapi;
#[cfg(target_os = "linux")]
mod output_cut;
#[cfg(target_os = "linux")]
mod page_actions;
mod prose;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "the tests of the engine's routes use the rest")]
#[path = "../../crates/engine/tests/routes/push_registry.rs"]
mod push_registry;
mod registry;
mod rsync;
#[cfg(target_os = "linux")]
mod shown;
#[cfg(target_os = "linux")]
mod stored;
mod support;
mod surface_contract;
mod surface_diff;
#[cfg(target_os = "linux")]
mod tilde;
mod untrusted;
#[cfg(target_os = "linux")]
mod verbs;
