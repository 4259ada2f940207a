//! The client and the types that `build.rs` generates from `openapi/contree.yaml`.
#![allow(
    clippy::all,
    clippy::unwrap_used,
    private_interfaces,
    mismatched_lifetime_syntaxes,
    unreachable_pub,
    unused_imports,
    reason = "generated code"
)]

include!(concat!(env!("OUT_DIR"), "/client.rs"));
