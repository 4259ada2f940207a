//! The types of requests and answers, which the build script generates from the API document.

#![allow(
    clippy::large_enum_variant,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the document also describes answers that this engine does not give"
)]

include!(concat!(env!("OUT_DIR"), "/types.rs"));
