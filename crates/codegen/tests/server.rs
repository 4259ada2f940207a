//! The types of a server from a small document: their source, and their JSON.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "server/types.rs"]
#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, reason = "the code is generated")]
mod types;

use contree_codegen::server::{Settings, generate};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("server/document.yaml");

fn settings() -> Settings {
    Settings::new()
        .with_flag("bool")
        .with_integer("u64")
        .with_type("*.pages", "u16")
        .with_refinement("/Shelf/properties/row/maximum", 9)
}

#[test]
fn the_types_are_those_in_the_file() {
    let types = generate(DOCUMENT, &settings()).unwrap();
    assert!(
        types == include_str!("server/types.rs"),
        "the types differ; if that is intended: cargo run -p contree-codegen --example server_types > crates/codegen/tests/server/types.rs"
    );
}

/// Reads a value as a type and serialises it again.
fn round_trip<T: serde::Serialize + serde::de::DeserializeOwned>(
    value: Value,
) -> Result<String, String> {
    let read: T = serde_json::from_value(value).map_err(|error| error.to_string())?;
    serde_json::to_string(&read).map_err(|error| error.to_string())
}

#[test]
fn absent_fields_get_their_default_become_null_or_stay_absent() {
    assert_eq!(
        round_trip::<types::BookRequest>(json!({"title": "a", "unknown": 1})).unwrap(),
        r#"{"title":"a","pages":100,"type":"crime","lendable":false,"notes":null}"#
    );
    assert_eq!(
        round_trip::<types::BookRequest>(
            json!({"x-shelf": {}, "notes": {"b": null}, "title": "a"})
        )
        .unwrap(),
        r#"{"title":"a","pages":100,"type":"crime","lendable":false,"notes":{"b":null},"x-shelf":{}}"#
    );
}

#[test]
fn parts_are_merged_and_the_last_one_takes_precedence() {
    let id = "00000000-0000-0000-0000-000000000000";
    assert_eq!(
        round_trip::<types::Book>(json!({"title": id, "id": id, "state": "worn"})).unwrap(),
        format!(
            r#"{{"title":"{id}","pages":100,"type":"crime","lendable":false,"notes":null,"id":"{id}","isbn":null,"state":"worn"}}"#
        )
    );
}

#[test]
fn errors_name_the_mistake() {
    for (value, words) in [
        (json!({}), "missing field `title`"),
        (json!({"title": "a", "pages": null}), "invalid type: null"),
        (json!({"title": "a", "pages": 70_000}), "expected u16"),
        (
            json!({"title": "a", "type": "x"}),
            "expected `crime` or `science-fiction`",
        ),
        (
            json!({"title": "a", "x-shelf": {"column": 1}}),
            "unknown field `column`",
        ),
    ] {
        let error = round_trip::<types::BookRequest>(value).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let login = types::Login {
        name: "alice".into(),
        secret: Some("hunter2".into()),
    };
    assert_eq!(format!("{login:?}"), "Login { .. }");
}

#[test]
fn enums_have_the_names_of_the_document() {
    for genre in types::Genre::ALL {
        assert_eq!(genre.as_str().parse(), Ok(*genre));
        assert_eq!(json!(genre), genre.as_str());
    }
    assert_eq!("poetry".parse::<types::Genre>(), Err(()));
}

#[test]
fn settings_for_unknown_names_are_refused() {
    for settings in [
        settings().with_type("Book.author", "String"),
        settings().with_refinement("/Magazine/required", json!(["title"])),
        settings().with_refinement("/Shelf/properties/row/default", ()),
    ] {
        let error = generate(DOCUMENT, &settings).unwrap_err().to_string();
        assert!(
            error.contains("which the document does not have"),
            "{error}"
        );
    }
    let error = generate("a: 1\na: 2\n", &Settings::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("the API document"), "{error}");
}

/// The types of these schemas, without spaces.
fn types_of(schemas: &str) -> String {
    let document = format!("paths: {{}}\ncomponents: {{schemas: {{{schemas}}}}}");
    let types = generate(&document, &Settings::new()).unwrap();
    types.split_whitespace().collect()
}

#[test]
fn properties_beside_parts_are_added_to_those_of_the_parts() {
    let types = types_of(
        "A: {type: object, required: [a], properties: {a: {type: string}, b: {type: string}}},
         B: {required: [b, c], properties: {b: {type: boolean}, c: {type: integer}},
             allOf: [{$ref: '#/components/schemas/A'}]}",
    );
    let expected = "pubstructB{puba:String,pubb:bool,pubc:i64,}";
    assert!(types.contains(expected), "{types}");
}

#[test]
fn a_nullable_property_keeps_its_default() {
    let types = types_of(
        "Loan: {type: object, properties: {
            days: {type: integer, nullable: true, default: 14},
            rush: {type: boolean, nullable: true, default: false},
            note: {type: string, nullable: true, default: null}}}",
    );
    for expected in [
        r#"#[serde(default="Loan::default_days")]pubdays:Option<i64>,"#,
        "pubfndefault_days()->Option<i64>{Some(14)}",
        r#"#[serde(default="Loan::default_rush")]pubrush:Option<bool>,"#,
        "pubfndefault_rush()->Option<bool>{Some(Default::default())}",
        "#[serde(default)]pubnote:Option<String>,",
    ] {
        assert!(types.contains(expected), "{expected}: {types}");
    }
}

#[test]
fn a_parameter_of_an_operation_replaces_that_of_its_path() {
    let document = "
paths:
  /books:
    parameters:
    - {name: limit, in: query, schema: {type: string}}
    - {$ref: '#/components/parameters/Page'}
    get:
      operationId: listBooks
      parameters: [{name: limit, in: query, schema: {type: integer}}]
      responses: {'200': {description: books}}
components:
  parameters:
    Page: {name: page, in: query, schema: {type: boolean}}
";
    let types = generate(document, &Settings::new()).unwrap();
    assert!(types.contains("pub limit: Option<i64>"), "{types}");
    assert!(types.contains("pub page: Option<bool>"), "{types}");
}

#[test]
fn schemas_without_end_are_refused_with_their_chain() {
    for (schemas, chain) in [
        ("A: {$ref: '#/components/schemas/A'}", "A → A"),
        (
            "Tree: {type: array, items: {$ref: '#/components/schemas/Tree'}},
             Wood: {type: object, properties: {tree: {$ref: '#/components/schemas/Tree'}}}",
            "Tree → Tree",
        ),
        (
            "Node: {type: object, properties: {next: {allOf: [
                {$ref: '#/components/schemas/Node'}, {type: object}]}}}",
            "Node → Node",
        ),
    ] {
        let document = format!("paths: {{}}\ncomponents: {{schemas: {{{schemas}}}}}");
        let error = generate(&document, &Settings::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains(chain), "{error}");
        assert!(error.contains("leads back to itself"), "{error}");
    }
    // A type with a name may contain itself.
    let types = types_of(
        "Node: {type: object, properties: {
            all: {type: array, items: {$ref: '#/components/schemas/Node'}}}}",
    );
    assert!(types.contains("puball:Option<Vec<Node>>"), "{types}");
}

#[test]
fn types_that_contain_themselves_have_a_finite_size() {
    let types = types_of(
        "Node: {type: object, required: [pair], properties: {
            next: {allOf: [{$ref: '#/components/schemas/Node'}], nullable: true},
            pair: {$ref: '#/components/schemas/Pair'},
            all: {type: array, items: {$ref: '#/components/schemas/Node'}},
            leaf: {$ref: '#/components/schemas/Leaf'}}},
         Pair: {type: object, properties: {left: {$ref: '#/components/schemas/Either'}}},
         Either: {oneOf: [{$ref: '#/components/schemas/Node'}, {$ref: '#/components/schemas/Leaf'}]},
         Leaf: {type: object, properties: {text: {type: string}}}",
    );
    for expected in [
        "pubnext:Option<Box<Node>>,",
        "pubpair:Box<Pair>,",
        "puball:Option<Vec<Node>>,",
        "publeaf:Option<Leaf>,",
        "publeft:Option<Box<Either>>,",
        "Node(Box<Node>),",
        "Leaf(Leaf),",
    ] {
        assert!(types.contains(expected), "{expected}: {types}");
    }
}

#[test]
fn code_in_descriptions_is_not_tested() {
    let types = generate(
        "paths: {}\ncomponents:\n  schemas:\n    A:\n      type: object\n      properties: {}\n      \
         description: |\n        Code:\n\n        ```rust\n        panic!()\n        ```\n",
        &Settings::new(),
    );
    let types = types.unwrap();
    assert!(types.contains("/// ```text"), "{types}");
}
