//! Compares the API document with the recorded interface, and tests the transforms for the client.

use std::{collections::BTreeSet, fs};

use serde_json::{Map, Value, json};

use contree_codegen::api::transforms;

fn document() -> Value {
    let text =
        fs::read_to_string(crate::support::repository().join("openapi/contree.yaml")).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

fn facts() -> Value {
    serde_json::from_str(
        &fs::read_to_string(crate::support::repository().join("tests/contract/api.json")).unwrap(),
    )
    .unwrap()
}

/// Compares the document with the facts. The document may add to them, but not drop or change one.
struct Comparison<'a> {
    facts: &'a Value,
    /// The facts' schemas, at the path that references to them use.
    fact_root: Value,
    document: &'a Value,
    findings: BTreeSet<String>,
}

impl<'a> Comparison<'a> {
    fn run(facts: &'a Value, document: &'a Value) -> BTreeSet<String> {
        let mut comparison = Self {
            facts,
            fact_root: json!({"components": {"schemas": facts["schemas"]}}),
            document,
            findings: BTreeSet::new(),
        };
        comparison.compare();
        comparison.findings
    }

    fn compare(&mut self) {
        let (facts, document) = (self.facts, self.document);
        for operation in facts["operations"].as_array().unwrap() {
            self.operation(operation);
        }
        for (name, schema) in facts["schemas"].as_object().unwrap() {
            let is_event = name.starts_with("Event") || name.starts_with("OperationEvent");
            if is_event || name == "NetworkInterface" {
                self.schema(name, schema, &document["components"]["schemas"][name], 0);
            }
        }
    }

    fn report(&mut self, finding: String) {
        self.findings.insert(finding);
    }

    fn operation(&mut self, fact: &Value) {
        let method = fact["method"].as_str().unwrap().to_lowercase();
        let path = fact["path"].as_str().unwrap();
        let place = format!("{method} {path}");
        let document = self.document;
        let item = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .find(|(candidate, item)| {
                without_parameter_names(candidate) == without_parameter_names(path)
                    && item.get(&method).is_some()
            });
        let Some((_, item)) = item else {
            return self.report(format!("{place}: missing"));
        };
        let ours = &item[&method];
        if ours["operationId"] != fact["id"] {
            self.report(format!(
                "{place}: is called {}, not {}",
                ours["operationId"], fact["id"]
            ));
        }
        for parameter in fact["parameters"].as_array().unwrap() {
            if parameter["in"] != "path" {
                self.parameter(&place, parameter, ours);
            }
        }
        for (kind, schema) in fact["requestBody"].as_object().into_iter().flatten() {
            let body = resolved(&ours["requestBody"], document);
            self.schema(
                &format!("{place} body"),
                schema,
                &body["content"][kind]["schema"],
                0,
            );
        }
        for (status, answer) in fact["responses"].as_object().unwrap() {
            if status.as_str() >= "400" {
                continue;
            }
            let other = resolved(&ours["responses"][status], document);
            if other.as_object().is_none_or(Map::is_empty) {
                self.report(format!("{place}: answer {status} is missing"));
            }
            for (kind, schema) in answer["content"].as_object().unwrap() {
                let place = format!("{place} {status} {kind}");
                self.schema(&place, schema, &other["content"][kind]["schema"], 0);
            }
        }
    }

    fn parameter(&mut self, place: &str, fact: &Value, operation: &Value) {
        let place = format!("{place}?{}", fact["name"].as_str().unwrap());
        let ours = operation["parameters"].as_array().into_iter().flatten();
        let mut ours = ours.map(|parameter| resolved(parameter, self.document));
        let named =
            |parameter: &Value| parameter["in"] == fact["in"] && parameter["name"] == fact["name"];
        let Some(ours) = ours.find(named) else {
            return self.report(format!("{place}: missing"));
        };
        if fact["required"] == true && ours["required"] != true {
            self.report(format!("{place}: not required"));
        }
        let mut schema = resolved(&ours["schema"], self.document);
        if schema["type"] == "array" {
            schema = schema["items"].clone();
        }
        self.schema(&place, &fact["schema"], &schema, 0);
    }

    fn schema(&mut self, place: &str, fact: &Value, ours: &Value, depth: usize) {
        if depth > 12 {
            return;
        }
        let (fact, ours) = (
            resolved(fact, &self.fact_root),
            resolved(ours, self.document),
        );
        for key in ["type", "format", "default", "minimum", "maximum", "pattern"] {
            let composed = ["oneOf", "anyOf", "properties"]
                .iter()
                .any(|key| ours.get(*key).is_some());
            let untyped = key == "type" && ours.get("type").is_none() && composed;
            if fact.get(key).is_some() && fact.get(key) != ours.get(key) && !untyped {
                self.report(format!(
                    "{place}: {key} is {:?}, not {}",
                    ours.get(key),
                    fact[key]
                ));
            }
        }
        if fact["nullable"] == true && ours["nullable"] != true {
            self.report(format!("{place}: not nullable"));
        }
        for key in ["enum", "required"] {
            for value in fact[key].as_array().into_iter().flatten() {
                if !ours[key]
                    .as_array()
                    .is_some_and(|ours| ours.contains(value))
                {
                    self.report(format!("{place}: {key} lacks {value}"));
                }
            }
        }
        for (name, schema) in fact["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            match ours["properties"].get(name) {
                Some(ours) => self.schema(&place, schema, ours, depth + 1),
                None => self.report(format!("{place}: missing")),
            }
        }
        for (key, sign) in [("items", "[]"), ("additionalProperties", "{}")] {
            if fact[key].is_object() {
                self.schema(&format!("{place}{sign}"), &fact[key], &ours[key], depth + 1);
            }
        }
    }
}

/// The segments of a path, without the names of parameters.
fn without_parameter_names(path: &str) -> Vec<&str> {
    path.split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part })
        .collect()
}

/// Resolves references and merges `allOf`, so that two notations of one schema are equal.
fn resolved(node: &Value, root: &Value) -> Value {
    let mut node = node.clone();
    while let Some(reference) = node["$ref"].as_str() {
        node = root
            .pointer(reference.trim_start_matches('#'))
            .unwrap()
            .clone();
    }
    let Some(parts) = node["allOf"].as_array().cloned() else {
        return node;
    };
    let mut merged = node.as_object().unwrap().clone();
    merged.remove("allOf");
    for part in parts {
        let part = resolved(&part, root);
        for (key, value) in part.as_object().unwrap() {
            let into = merged.entry(key.clone()).or_insert_with(|| value.clone());
            match (key.as_str(), into, value) {
                ("properties", Value::Object(into), Value::Object(more)) => {
                    let own = std::mem::take(into);
                    into.extend(more.clone());
                    into.extend(own);
                }
                ("required", Value::Array(into), Value::Array(more)) => into.extend(more.clone()),
                _ => {}
            }
        }
    }
    merged.into()
}

#[test]
fn the_document_matches_the_interface() {
    let findings = Comparison::run(&facts(), &document());
    assert!(findings.is_empty(), "openapi/contree.yaml: {findings:#?}");
}

#[test]
fn the_comparison_finds_changes() {
    let changes = [
        ("/paths/~1whoami", json!({})),
        ("/paths/~1images/get/operationId", json!("images")),
        ("/paths/~1images/get/parameters", json!([])),
        ("/paths/~1instances/post/responses", json!({})),
        (
            "/components/schemas/OperationStatus/enum",
            json!(["SUCCESS"]),
        ),
        (
            "/components/schemas/ExecSpec/properties/uid/minimum",
            json!(1),
        ),
    ];
    let (facts, document) = (facts(), document());
    for (pointer, change) in changes {
        let mut document = document.clone();
        *document.pointer_mut(pointer).unwrap() = change;
        assert!(!Comparison::run(&facts, &document).is_empty(), "{pointer}");
    }
}

#[test]
fn everything_has_a_description() {
    let document = document();
    let mut bare = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for node in parameters.chain([operation]) {
                if node["description"]
                    .as_str()
                    .is_none_or(|text| text.trim().is_empty())
                {
                    bare.push(format!("{method} {path} {}", node["name"]));
                }
            }
            if operation["summary"].as_str().is_none() || operation["tags"].as_array().is_none() {
                bare.push(format!("{method} {path}: summary or tags"));
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if schema["description"].as_str().is_none() {
            bare.push(name.clone());
        }
        for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
            if schema["description"].as_str().is_none() && schema["$ref"].as_str().is_none() {
                bare.push(format!("{name}.{property}"));
            }
        }
    }
    assert!(bare.is_empty(), "without a description: {bare:#?}");
}

/// Applies one transform to the whole document.
fn transformed(transform: fn(&mut Value)) -> Value {
    let mut document = document();
    transform(&mut document);
    document
}

/// Every schema-like object below a node.
fn objects(node: &Value) -> Vec<&Map<String, Value>> {
    match node {
        Value::Array(items) => items.iter().flat_map(objects).collect(),
        Value::Object(map) => std::iter::once(map)
            .chain(map.values().flat_map(objects))
            .collect(),
        _ => Vec::new(),
    }
}

fn schema<'a>(document: &'a Value, path: &str) -> &'a Value {
    document
        .pointer(&format!("/components/schemas/{path}"))
        .unwrap()
}

#[test]
fn a_tag_is_looked_up_by_following_its_redirect() {
    let document = transformed(transforms::answer_tag_lookup);
    let answers = &document["paths"]["/inspect/"]["get"]["responses"];
    let answer = &answers["200"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(answer, "#/components/schemas/Image");
}

#[test]
fn operations_that_only_redirect_are_dropped() {
    let document = transformed(transforms::drop_redirects);
    let paths = document["paths"].as_object().unwrap();
    assert!(!paths.contains_key("/inspect"));
    assert!(!paths.contains_key("/inspect/{imageUUID}"));
    assert!(paths.contains_key("/inspect/{image_uuid}/"));
    // The transform for the look-up by tag runs before redirects are dropped.
    let mut document = self::document();
    transforms::apply(&mut document, transforms::CLIENT);
    assert!(document["paths"]["/inspect/"]["get"].is_object());
}

#[test]
fn every_failure_has_one_type() {
    let document = transformed(transforms::merge_error_answers);
    for item in document["paths"].as_object().unwrap().values() {
        for (method, operation) in item.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap();
            for range in ["4XX", "5XX"] {
                let body = &answers[range]["content"]["application/json"]["schema"]["$ref"];
                match method.as_str() {
                    "head" => assert!(body.is_null()),
                    _ => assert_eq!(body, "#/components/schemas/Error"),
                }
            }
            assert!(
                answers
                    .keys()
                    .all(|code| code.starts_with('2') || code.ends_with("XX"))
            );
        }
    }
}

#[test]
fn one_media_type_is_left() {
    let document = transformed(transforms::prefer_json);
    let kinds = |path: &str| {
        let content = &document["paths"][path]["get"]["responses"]["200"]["content"];
        content
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds("/inspect/{image_uuid}/list"), ["application/json"]);
    assert_eq!(
        kinds("/inspect/{image_uuid}/download"),
        ["application/octet-stream"]
    );
    assert_eq!(
        kinds("/operations/{operationId}/events"),
        ["text/event-stream"]
    );
}

#[test]
fn flags_are_numbers() {
    let document = transformed(transforms::integer_flags);
    let parameters = &document["paths"]["/operations/{operationId}/events"]["get"]["parameters"];
    let follow = parameters
        .as_array()
        .unwrap()
        .iter()
        .find(|parameter| parameter["name"] == "follow");
    assert_eq!(follow.unwrap()["schema"]["type"], "integer");
}

#[test]
fn enumerations_of_answers_are_open() {
    let document = transformed(transforms::open_enums);
    for path in [
        "OperationStatus",
        "OperationKind",
        "EventDataTruncated/properties/stream",
        "EventDataShutdown/properties/reason",
        "GrepMatch/properties/type",
    ] {
        assert!(schema(&document, path)["enum"].is_null(), "{path}");
    }
    let status = schema(&document, "EventDataCompletion/properties/status");
    assert_eq!(status["$ref"], "#/components/schemas/OperationStatus");
}

#[test]
fn events_are_left_for_hand_written_code() {
    let document = transformed(transforms::open_events);
    assert_eq!(
        *schema(&document, "OperationEvent/properties/data"),
        json!({})
    );
    assert_eq!(
        *schema(&document, "OperationEvent/properties/type"),
        json!({"type": "string"})
    );
    assert!(schema(&document, "EventDataInit").get("required").is_none());
}

#[test]
fn the_reason_of_an_error_is_any_value() {
    let document = transformed(transforms::plain_error_body);
    assert!(
        schema(&document, "Error/properties/error")
            .get("oneOf")
            .is_none()
    );
}

#[test]
fn the_metadata_of_a_run_is_one_object() {
    let document = transformed(transforms::flatten_instance_metadata);
    let metadata = schema(&document, "OperationInstanceMetadata");
    assert!(metadata.get("allOf").is_none());
    assert_eq!(metadata["required"], json!(["command", "image"]));
    let image = &metadata["properties"]["image"]["allOf"][0]["$ref"];
    assert_eq!(image, "#/components/schemas/UUIDSchema");
    assert!(
        metadata["properties"]["command"].is_object()
            && metadata["properties"]["result"].is_object()
    );
}

#[test]
fn strings_and_numbers_are_plain() {
    let mut document = document();
    transforms::plain_strings(&mut document);
    transforms::plain_numbers(&mut document);
    for object in objects(&document) {
        assert!(!object.contains_key("pattern") || object["pattern"].is_object());
        assert!(
            object
                .get("format")
                .is_none_or(|format| format != "date-time" && format != "float")
        );
        assert!(
            object
                .get("minimum")
                .is_none_or(|minimum| *minimum == json!(0))
        );
        assert!(!object.contains_key("maximum"));
    }
}

#[test]
fn defaults_are_not_sent() {
    let document = transformed(transforms::drop_defaults);
    assert!(
        objects(&document)
            .iter()
            .all(|object| !object.contains_key("default"))
    );
}

#[test]
fn mocks_compare_no_lists_and_have_versioned_paths() {
    let mut document = document();
    transforms::apply(&mut document, transforms::MOCKS);
    let grep = &document["paths"]["/v1/inspect/{image_uuid}/grep"]["get"]["parameters"];
    let names: Vec<_> = grep
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| &parameter["name"])
        .collect();
    assert!(!names.contains(&&json!("pattern")) && names.contains(&&json!("case")));
    assert!(
        document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .all(|path| path.starts_with("/v1/"))
    );
}
