//! Small, named changes to the API document, which precede the generation of the client.
//!
//! `openapi/contree.yaml` describes the interface exactly. The generator has limits: one success
//! type and one error type for each operation, and no overridden properties. It also generates code
//! that suits a client badly: closed enumerations, and numbers that cannot be zero. Each function
//! here works around one such point in a copy of the document.

#![allow(unreachable_pub, reason = "used by the build script and by a test")]

use serde_json::{Map, Value, json};

/// The transforms of the client, in the order in which they are applied.
pub const CLIENT: &[fn(&mut Value)] = &[
    answer_tag_lookup,
    drop_redirects,
    merge_error_answers,
    prefer_json,
    integer_flags,
    open_enums,
    open_events,
    plain_error_body,
    flatten_instance_metadata,
    plain_strings,
    plain_numbers,
    drop_defaults,
];

/// The transforms of the mock helpers, after those of [`CLIENT`].
pub const MOCKS: &[fn(&mut Value)] = &[drop_array_queries, version_paths];

/// Applies `transforms` in order.
pub fn apply(document: &mut Value, transforms: &[fn(&mut Value)]) {
    for transform in transforms {
        transform(document);
    }
}

/// The methods of a path item (OpenAPI 3.0.3, "Path Item Object").
pub(super) const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// The reference to the status of an operation, which the client replaces with an open
/// enumeration.
const STATUS: &str = "#/components/schemas/OperationStatus";

/// Adds the image as the answer of a look-up by tag. The server redirects to the image, and the
/// HTTP client follows.
pub fn answer_tag_lookup(document: &mut Value) {
    each_operation(document, |_, operation| {
        let looks_up = operation["operationId"] == "inspectFindImageByTag";
        if looks_up && let Some(responses) = operation["responses"].as_object_mut() {
            responses.insert(
                "200".into(),
                json!({
                    "description": "The image that the tag points to.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Image"}}},
                }),
            );
        }
    });
}

/// Removes operations that only redirect to another one, since a method for them is useless.
pub fn drop_redirects(document: &mut Value) {
    let Some(paths) = object_at(document, "/paths") else {
        return;
    };
    for item in paths.values_mut().filter_map(Value::as_object_mut) {
        item.retain(|method, operation| {
            !METHODS.contains(&method.as_str()) || !only_redirects(operation)
        });
    }
    paths.retain(|_, item| METHODS.iter().any(|method| item.get(method).is_some()));
}

fn only_redirects(operation: &Value) -> bool {
    operation["responses"].as_object().is_some_and(|responses| {
        responses.keys().any(|code| code.starts_with('3'))
            && !responses.keys().any(|code| code.starts_with('2'))
    })
}

/// Gives all failures of an operation one type, since the generator supports only one.
///
/// A status that is not in the document, such as a proxy's 502, then also has a type. Answers to
/// HEAD have no body. Redirects are removed, since the HTTP client follows them.
pub fn merge_error_answers(document: &mut Value) {
    each_operation(document, |method, operation| {
        let Some(responses) = operation["responses"].as_object_mut() else {
            return;
        };
        responses.retain(|code, _| code.starts_with('2'));
        for (range, description) in [
            ("4XX", "The request was refused."),
            ("5XX", "The server failed."),
        ] {
            let mut answer = json!({"description": description});
            if method != "head" {
                answer["content"] =
                    json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
            }
            responses.insert(range.into(), answer);
        }
    });
}

/// Turns a `default` answer beside a success into answers to all client and server errors.
///
/// The generator counts a `default` answer as a success too, and supports only one type of success.
pub fn default_errors(document: &mut Value) {
    each_operation(document, |_, operation| {
        let Some(responses) = operation["responses"].as_object_mut() else {
            return;
        };
        if !responses.keys().any(|code| code.starts_with('2')) {
            return;
        }
        if let Some(answer) = responses.remove("default") {
            for range in ["4XX", "5XX"] {
                responses.entry(range).or_insert_with(|| answer.clone());
            }
        }
    });
}

/// Keeps one media type of each answer: JSON if there is one, else the bytes.
pub fn prefer_json(document: &mut Value) {
    each_operation(document, |_, operation| {
        let responses = operation["responses"].as_object_mut().into_iter().flatten();
        for content in
            responses.filter_map(|(_, answer)| answer.get_mut("content")?.as_object_mut())
        {
            let keep = ["application/json", "application/octet-stream"]
                .into_iter()
                .find(|kind| content.contains_key(*kind));
            if let Some(keep) = keep {
                content.retain(|kind, _| kind == keep);
            }
        }
    });
}

/// Turns flags (`""`, `"0"`, `"1"`) into numbers, since an enumeration of these values would have
/// variants without valid names.
pub fn integer_flags(document: &mut Value) {
    each_parameter(document, |parameter| {
        if parameter["schema"]["enum"] == json!(["", "0", "1"]) {
            parameter["schema"] = json!({"type": "integer", "minimum": 0});
        }
    });
}

/// Opens the enumerations in answers, so that a client can read values that a newer server adds.
///
/// Statuses and kinds of operations have hand-written open types; the other enumerations become
/// strings.
pub fn open_enums(document: &mut Value) {
    for schema in ["OperationStatus", "OperationKind"] {
        if let Some(schema) = object_at(document, &format!("/components/schemas/{schema}")) {
            schema.remove("enum");
        }
    }
    for (schema, property) in [
        ("EventDataTruncated", "stream"),
        ("EventDataShutdown", "reason"),
        ("GrepMatch", "type"),
    ] {
        if let Some(property) = property_of(document, schema, property) {
            property.remove("enum");
        }
    }
    if let Some(status) = property_of(document, "EventDataCompletion", "status") {
        *status = Map::from_iter([("$ref".to_owned(), Value::from(STATUS))]);
    }
}

/// Removes the types of events from the document, since hand-written code decodes events by their
/// `type`.
///
/// An untagged enumeration would confuse events of similar shape and lose unknown ones. A frame of
/// the event stream is not a JSON value.
pub fn open_events(document: &mut Value) {
    if let Some(data) = property_of(document, "OperationEvent", "data") {
        *data = Map::new();
    }
    if let Some(kind) = property_of(document, "OperationEvent", "type") {
        *kind = Map::from_iter([("type".to_owned(), Value::from("string"))]);
    }
    if let Some(schemas) = object_at(document, "/components/schemas") {
        schemas.remove("OperationEventSSEFrame");
        schemas.remove("OperationEventType");
        if let Some(init) = schemas
            .get_mut("EventDataInit")
            .and_then(Value::as_object_mut)
        {
            init.remove("required");
        }
    }
}

/// Makes the reason of a failure any JSON value: it may be a text, an object or a list.
pub fn plain_error_body(document: &mut Value) {
    if let Some(error) = property_of(document, "Error", "error") {
        error.remove("oneOf");
    }
}

/// Merges the parts of `OperationInstanceMetadata` into one object; later parts take precedence.
///
/// The schema narrows a property inside `allOf`. The generator would turn that into an enumeration
/// of two equal types.
pub fn flatten_instance_metadata(document: &mut Value) {
    const PATH: &str = "/components/schemas/OperationInstanceMetadata";
    let Some(parts) = document
        .pointer(PATH)
        .and_then(|schema| schema["allOf"].as_array())
        .cloned()
    else {
        return;
    };
    let mut properties = Map::new();
    let mut required: Vec<Value> = Vec::new();
    for part in &parts {
        let part = match part["$ref"].as_str() {
            Some(reference) => document
                .pointer(reference.trim_start_matches('#'))
                .cloned()
                .unwrap_or_default(),
            None => part.clone(),
        };
        for (name, schema) in part["properties"].as_object().into_iter().flatten() {
            properties.insert(name.clone(), schema.clone());
        }
        required.extend(part["required"].as_array().into_iter().flatten().cloned());
    }
    if let Some(schema) = object_at(document, PATH) {
        schema.remove("allOf");
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), properties.into());
        schema.insert("required".into(), required.into());
    }
}

/// Removes patterns and time formats from strings.
///
/// The server validates requests, and a time in an unusual format must not make an answer
/// unreadable.
pub fn plain_strings(document: &mut Value) {
    each_schema(document, &mut |schema| {
        if schema.get("type").is_some_and(|kind| kind == "string") {
            schema.remove("pattern");
            if schema
                .get("format")
                .is_some_and(|format| format == "date-time")
            {
                schema.remove("format");
            }
        }
    });
}

/// Removes bounds and formats from numbers.
///
/// A lower bound of 1 would give a `NonZero` type, and the server enforces upper bounds. An integer
/// with a lower bound of at least 0 is `u64`, and one with a negative bound is signed. Fractions
/// are always `f64`.
pub fn plain_numbers(document: &mut Value) {
    each_schema(document, &mut |schema| {
        if schema.get("type").is_some_and(|kind| kind == "integer") {
            schema.remove("maximum");
            let minimum = schema.remove("minimum");
            if minimum.is_some_and(|minimum| minimum.as_f64().is_some_and(|least| least >= 0.0)) {
                schema.insert("minimum".into(), 0.into());
                schema.insert("format".into(), "uint64".into());
            }
        }
        if schema.get("type").is_some_and(|kind| kind == "number") {
            for bound in ["format", "minimum", "maximum"] {
                schema.remove(bound);
            }
        }
    });
}

/// Removes defaults, so that fields are optional and the server fills them in.
///
/// The client would always send a field with a default, and could not distinguish an absent one.
/// A `default` that is an object stays, since it may be the default answer of an operation.
pub fn drop_defaults(document: &mut Value) {
    each_schema(document, &mut |schema| {
        if !schema.get("default").is_some_and(Value::is_object) {
            schema.remove("default");
        }
    });
}

/// Removes list parameters, since the mock helpers compare parameters as text.
pub fn drop_array_queries(document: &mut Value) {
    each_operation(document, |_, operation| {
        if let Some(parameters) = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut)
        {
            parameters.retain(|parameter| parameter["schema"]["type"] != "array");
        }
    });
}

/// Adds the API version to all paths, since requests to the mock server contain it.
pub fn version_paths(document: &mut Value) {
    if let Some(paths) = object_at(document, "/paths") {
        *paths = std::mem::take(paths)
            .into_iter()
            .map(|(path, item)| (format!("/v1{path}"), item))
            .collect();
    }
}

fn object_at<'a>(document: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    document.pointer_mut(pointer)?.as_object_mut()
}

fn property_of<'a>(
    document: &'a mut Value,
    schema: &str,
    property: &str,
) -> Option<&'a mut Map<String, Value>> {
    object_at(
        document,
        &format!("/components/schemas/{schema}/properties/{property}"),
    )
}

fn each_operation(document: &mut Value, mut change: impl FnMut(&str, &mut Value)) {
    let paths = object_at(document, "/paths").into_iter().flatten();
    for (_, item) in paths {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                change(method, operation);
            }
        }
    }
}

fn each_parameter(document: &mut Value, mut change: impl FnMut(&mut Value)) {
    each_operation(document, |_, operation| {
        let parameters = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut);
        parameters.into_iter().flatten().for_each(&mut change);
    });
}

/// Visits every object of the document, since only its keywords show that it is a schema.
///
/// Maps from names to schemas (`properties` and `schemas`) are not visited themselves, so that a
/// property called `default` is kept.
fn each_schema(node: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(|item| each_schema(item, change)),
        Value::Object(map) => {
            change(map);
            for (key, value) in map.iter_mut() {
                match value {
                    Value::Object(named) if key == "properties" || key == "schemas" => {
                        named
                            .values_mut()
                            .for_each(|schema| each_schema(schema, change));
                    }
                    Value::Object(_) | Value::Array(_) if key != "example" => {
                        each_schema(value, change)
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
