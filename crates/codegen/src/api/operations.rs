//! Reads the operations of the document, and checks that the client has a function for each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    description::normalise,
    error::ClientError,
    refine::{doc_text, functions},
    transforms::METHODS,
};

/// The keys of a path item that are not methods (OpenAPI 3.0.3, "Path Item Object").
const OTHER_KEYS: [&str; 4] = ["summary", "description", "servers", "parameters"];

/// An operation of the document.
pub(super) struct Operation {
    id: String,
    method: String,
    path: String,
}

impl Operation {
    /// The sentence in the documentation of the generated function. It identifies a function whose
    /// name differs from the operation's id.
    fn sentence(&self) -> String {
        format!(
            "Sends a `{}` request to `{}`",
            self.method.to_uppercase(),
            self.path
        )
    }
}

/// The operations of the document.
///
/// # Errors
/// An entry that the generator would skip silently, or for which it would make invalid code.
pub(super) fn operations(name: &str, document: &Value) -> Result<Vec<Operation>, ClientError> {
    let fail = |place: String, problem: &str| ClientError::Operation {
        document: name.to_owned(),
        place,
        problem: problem.to_owned(),
    };
    let mut all = Vec::new();
    let mut names = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        if path.starts_with("x-") {
            continue;
        }
        let place = format!("the path `{path}`");
        if !path.starts_with('/') {
            return Err(fail(place, "a path begins with `/`"));
        }
        let Some(item) = item.as_object() else {
            return Err(fail(place, "the value of a path must be an object"));
        };
        for (key, operation) in item {
            if OTHER_KEYS.contains(&key.as_str()) || key.starts_with("x-") {
                continue;
            }
            let place = format!("`{key}` of `{path}`");
            if key == "$ref" {
                let problem = "a reference to a path is not supported; write the path here";
                return Err(fail(place, problem));
            }
            if !METHODS.contains(&key.as_str()) {
                let problem = format!("it is not a method; the methods are {}", METHODS.join(", "));
                return Err(fail(place, &problem));
            }
            let id = operation["operationId"].as_str().map(normalise);
            let Some(id) = id.filter(|id| !id.is_empty()) else {
                let problem = "an operation needs an `operationId`, the name of its function";
                return Err(fail(place, problem));
            };
            if let Some(other) = names.insert(id.clone(), place.clone()) {
                let problem = format!("its function would have the same name as that of {other}");
                return Err(fail(place, &problem));
            }
            all.push(Operation {
                id,
                method: key.clone(),
                path: path.clone(),
            });
        }
    }
    Ok(all)
}

/// Checks that the client has a function for each operation that is not omitted.
///
/// # Errors
/// The operations without a function, or an omission without effect.
pub(super) fn check(
    name: &str,
    operations: &[Operation],
    client: &syn::File,
    omitted: &[String],
) -> Result<(), ClientError> {
    let mut names = BTreeSet::new();
    let mut sentences = BTreeSet::new();
    for function in functions(client) {
        names.insert(normalise(&function.sig.ident.to_string()));
        let text = doc_text(&function.attrs).unwrap_or_default();
        sentences.extend(text.lines().map(|line| line.trim().to_owned()));
    }
    let has_function = |operation: &Operation| {
        names.contains(&operation.id) || sentences.contains(&operation.sentence())
    };
    for id in omitted {
        let known = operations
            .iter()
            .find(|operation| operation.id == normalise(id));
        let why = match known {
            None => "the document has no such operation",
            Some(operation) if has_function(operation) => "the operation has a function",
            Some(_) => continue,
        };
        return Err(ClientError::UselessOmission {
            document: name.to_owned(),
            operation: id.clone(),
            why,
        });
    }
    let omitted: BTreeSet<String> = omitted.iter().map(|id| normalise(id)).collect();
    let missing: Vec<String> = operations
        .iter()
        .filter(|operation| !omitted.contains(&operation.id) && !has_function(operation))
        .map(|operation| format!("{} {}", operation.method.to_uppercase(), operation.path))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ClientError::MissingOperations {
        document: name.to_owned(),
        operations: missing,
    })
}
