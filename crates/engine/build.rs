//! Generates the types of requests and answers from the API document, with `crates/codegen`.

use std::{env, fs, path::PathBuf};

use contree_codegen::extensions::merge_texts;
use contree_codegen::server::{self, Settings};

/// The API document: a symbolic link here, and a copy of the file in a published package.
const DOCUMENT: &str = "openapi/contree.yaml";
/// The extensions that this engine adds to it, in the same directory.
const EXTENSIONS: &str = "openapi/extensions.yaml";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={DOCUMENT}");
    println!("cargo::rerun-if-changed={EXTENSIONS}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let merged = merge_texts(
        &fs::read_to_string(DOCUMENT)?,
        &fs::read_to_string(EXTENSIONS)?,
    );
    match merged {
        Ok(document) => match server::generate(&document, &settings()) {
            Ok(types) => fs::write(out.join("types.rs"), types)?,
            Err(problem) => println!("cargo::error={DOCUMENT}: {problem}"),
        },
        Err(problem) => println!("cargo::error={EXTENSIONS}: {problem}"),
    }
    Ok(())
}

/// The generator's settings: types and defaults that the document leaves open.
fn settings() -> Settings {
    let mut settings = Settings::new()
        .with_flag("crate::api::flag::Flag")
        // Sizes, counts and times are never negative.
        .with_integer("u64")
        // Defaults that the document states only in its descriptions.
        .with_refinement("/InstanceSpawnRequest/properties/timeout/default", 3600)
        .with_refinement(
            "/InstanceSpawnRequest/properties/files/default",
            serde_json::json!({}),
        )
        .with_refinement("/InstanceFile/properties/uid/default", 0)
        .with_refinement("/InstanceFile/properties/gid/default", 0)
        .with_refinement("/InstanceFile/properties/mode/default", "0644")
        // An answer repeats the request without a limit that the client left out.
        .with_refinement(
            "/InstanceResourcesLimits/properties/max_layer_bytes/default",
            (),
        )
        // The engine's errors are plain sentences.
        .with_type("Error.error", "String")
        // An event's data depends on its type, and logs of other releases may have unknown types.
        .with_type("OperationEvent.type", "String")
        .with_type("OperationEvent.data", "serde_json::Value")
        .with_type("OperationEventSSEFrame", "String")
        .with_type("EventDataCompletion.status", "OperationStatus")
        // A request that another release recorded may have a form that this one cannot read.
        .with_type("OperationResponse.metadata", "serde_json::Value")
        // The order of these maps is part of the answer.
        .with_type(
            "WhoAmIResponse.permissions",
            "indexmap::IndexMap<String, bool>",
        )
        .with_type(
            "WhoAmIResponse.operations_stat",
            "std::collections::BTreeMap<String, i64>",
        )
        .with_type("WhoAmIResponse.limits", "indexmap::IndexMap<String, u64>")
        // All matches in one file share its path.
        .with_type("GrepMatch.path", "std::sync::Arc<str>")
        // The routes check these parameters, so that their error messages are clear.
        .with_type("ListOperationsQuery.status", "String")
        .with_type("ListOperationsQuery.kind", "String")
        .with_type("ListImagesQuery.tagged", "crate::api::flag::Flag")
        .with_type("ListFilesQuery.since", "chrono::DateTime<chrono::Utc>")
        .with_type("ListFilesQuery.until", "chrono::DateTime<chrono::Utc>");
    for (property, rust) in NUMBERS {
        settings = settings.with_type(property, rust);
    }
    settings
}

/// Numbers that are smaller than 64 bits, or may be negative.
const NUMBERS: &[(&str, &str)] = &[
    ("*.uid", "u32"),
    ("*.gid", "u32"),
    ("*.limit", "u32"),
    ("EngineLimits.processes", "u32"),
    ("EngineConnection.port", "u16"),
    ("Error.status", "u16"),
    ("GrepMatch.line_bytes", "usize"),
    ("GrepSubmatch.start", "usize"),
    ("GrepSubmatch.end", "usize"),
    ("FileItem.mtime", "i64"),
    ("*.pid", "i64"),
    ("ProcessState.exit_code", "i64"),
    ("ProcessState.signal", "i64"),
    ("ImageLogEntry.exit_code", "i64"),
    ("EventDataExit.code", "i64"),
    ("EventDataExit.signal", "i64"),
];
