//! The embedded engine through the SDK, and served by the program. `crates/engine/tests/routes`
//! tests the answers of its API.

mod client;
mod domain;
mod manners;
mod ports;
#[path = "../../../crates/engine/tests/routes/registry.rs"]
#[allow(dead_code, reason = "the engine's own tests use all of it")]
pub(crate) mod registry;
mod serve;
#[path = "../../../crates/engine/tests/routes/support.rs"]
#[allow(dead_code, reason = "the engine's own tests use all of it")]
pub(crate) mod support;
