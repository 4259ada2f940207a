//! Small, named changes to the API document on its way to the client generator.
//!
//! `openapi/contree.yaml` states the interface as it is. The generator has limits (one success type and one
//! error type an operation, no overridden property) and habits that suit a client badly (closed enumerations,
//! numbers that cannot be zero). Each function here removes one such thing from a copy of the document.

#![allow(unreachable_pub, reason = "a module of the build script and of a test")]

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

/// What the mock helpers need beyond [`CLIENT`].
pub const MOCKS: &[fn(&mut Value)] = &[drop_array_queries, version_paths];

/// Applies `transforms` in order.
pub fn apply(document: &mut Value, transforms: &[fn(&mut Value)]) {
    for transform in transforms {
        transform(document);
    }
}

const METHODS: [&str; 5] = ["get", "head", "post", "patch", "delete"];

/// The named string enumerations that `src/client/values.rs` replaces by open ones.
const STATUS: &str = "#/components/schemas/OperationStatus";

/// A look-up by tag is answered by a redirect to the image, which the HTTP client follows: the caller sees the image.
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

/// An operation that only redirects to another one has nothing to offer as a method.
pub fn drop_redirects(document: &mut Value) {
    let Some(paths) = object(document, "/paths") else {
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

/// All failures of an operation get one type: the generator takes no more, and a status that the document
/// forgot (a proxy's 502) then still has a type. Answers to HEAD carry no body. Redirects are followed below.
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

/// Where an answer comes in several media types, the client reads the structured one, else the bytes.
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

/// A flag (`""`, `"0"`, `"1"`) becomes a number: as an enumeration its variants would have no names.
pub fn integer_flags(document: &mut Value) {
    each_parameter(document, |parameter| {
        if parameter["schema"]["enum"] == json!(["", "0", "1"]) {
            parameter["schema"] = json!({"type": "integer", "minimum": 0});
        }
    });
}

/// A value that the server adds to an enumeration must not make its whole answer unreadable. Statuses and kinds
/// have open types of their own; the other enumerations of answers become strings.
pub fn open_enums(document: &mut Value) {
    for schema in ["OperationStatus", "OperationKind"] {
        if let Some(schema) = object(document, &format!("/components/schemas/{schema}")) {
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

/// Events are decoded by their `type`, by hand: guessing by shape confuses them, and kinds that are not
/// known yet have to survive. The frame of the stream is no JSON value at all.
pub fn open_events(document: &mut Value) {
    if let Some(data) = property_of(document, "OperationEvent", "data") {
        *data = Map::new();
    }
    if let Some(kind) = property_of(document, "OperationEvent", "type") {
        *kind = Map::from_iter([("type".to_owned(), Value::from("string"))]);
    }
    if let Some(schemas) = object(document, "/components/schemas") {
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

/// The reason of a failure may be text, an object or a list: any JSON value.
pub fn plain_error_body(document: &mut Value) {
    if let Some(error) = property_of(document, "Error", "error") {
        error.remove("oneOf");
    }
}

/// `OperationInstanceMetadata` narrows a property inside `allOf`, which the generator turns into an enumeration of
/// two equal types. Its parts are folded into one object, later parts first.
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
    if let Some(schema) = object(document, PATH) {
        schema.remove("allOf");
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), properties.into());
        schema.insert("required".into(), required.into());
    }
}

/// Patterns and time formats become plain strings: the server judges what it is sent, and a time that it spells
/// in its own way must not make an answer unreadable.
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

/// A lower bound of 1 or 2 would give `NonZero` numbers, an upper one is the server's to enforce; fractions are
/// always double.
pub fn plain_numbers(document: &mut Value) {
    each_schema(document, &mut |schema| {
        if schema.get("type").is_some_and(|kind| kind == "integer") {
            schema.remove("maximum");
            if schema.contains_key("minimum") {
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

/// A field with a default would be sent always and could not be told from one left out; without it the field is
/// optional, and the server fills it in.
pub fn drop_defaults(document: &mut Value) {
    each_schema(document, &mut |schema| {
        if !schema.get("default").is_some_and(Value::is_object) {
            schema.remove("default");
        }
    });
}

/// The mock helpers compare parameters as text, which lists are not.
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

/// Mocks answer at the paths that are really asked for, which begin with the API's version.
pub fn version_paths(document: &mut Value) {
    if let Some(paths) = object(document, "/paths") {
        *paths = std::mem::take(paths)
            .into_iter()
            .map(|(path, item)| (format!("/v1{path}"), item))
            .collect();
    }
}

fn object<'a>(document: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    document.pointer_mut(pointer)?.as_object_mut()
}

fn property_of<'a>(
    document: &'a mut Value,
    schema: &str,
    property: &str,
) -> Option<&'a mut Map<String, Value>> {
    object(
        document,
        &format!("/components/schemas/{schema}/properties/{property}"),
    )
}

fn each_operation(document: &mut Value, mut change: impl FnMut(&str, &mut Value)) {
    let paths = object(document, "/paths").into_iter().flatten();
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

/// Visits every object of the document: a schema is known by its keywords, wherever it stands. Maps of named
/// things (`properties`) are passed through, so that a property called `default` stays.
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
