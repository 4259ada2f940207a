//! The types of a server, from a small document: their source, and what they read and write.

#[path = "server/types.rs"]
#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, reason = "it is generated")]
mod types;

use contree_codegen::server::{Settings, generate};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("server/document.yaml");

fn settings() -> Settings {
    Settings::new()
        .with_flag("bool")
        .with_integer("u64")
        .with_type("*.pages", "u16")
        .refined("/Shelf/properties/row/maximum", 9)
}

#[test]
fn types_are_as_kept() {
    let types = generate(DOCUMENT, &settings()).unwrap();
    assert!(
        types == include_str!("server/types.rs"),
        "the types differ; if that is meant: cargo run -p contree-codegen --example server_types > crates/codegen/tests/server/types.rs"
    );
}

/// Reads a value as a type and writes it again.
fn trip<T: serde::Serialize + serde::de::DeserializeOwned>(value: Value) -> Result<String, String> {
    let read: T = serde_json::from_value(value).map_err(|error| error.to_string())?;
    serde_json::to_string(&read).map_err(|error| error.to_string())
}

#[test]
fn what_is_left_out_is_filled_in_null_or_left_out_again() {
    assert_eq!(
        trip::<types::BookRequest>(json!({"title": "a", "unknown": 1})).unwrap(),
        r#"{"title":"a","pages":100,"type":"crime","lendable":false,"notes":null}"#
    );
    assert_eq!(
        trip::<types::BookRequest>(json!({"x-shelf": {}, "notes": {"b": null}, "title": "a"}))
            .unwrap(),
        r#"{"title":"a","pages":100,"type":"crime","lendable":false,"notes":{"b":null},"x-shelf":{}}"#
    );
}

#[test]
fn parts_are_put_together_and_the_later_counts() {
    let id = "00000000-0000-0000-0000-000000000000";
    assert_eq!(
        trip::<types::Book>(json!({"title": id, "id": id, "state": "worn"})).unwrap(),
        format!(
            r#"{{"title":"{id}","pages":100,"type":"crime","lendable":false,"notes":null,"id":"{id}","isbn":null,"state":"worn"}}"#
        )
    );
}

#[test]
fn refusals_name_what_is_wrong() {
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
        let error = trip::<types::BookRequest>(value).unwrap_err();
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
fn settings_for_what_is_not_there_are_refused() {
    for settings in [
        settings().with_type("Book.author", "String"),
        settings().refined("/Magazine/required", json!(["title"])),
        settings().refined("/Shelf/properties/row/default", ()),
    ] {
        let error = generate(DOCUMENT, &settings).unwrap_err();
        assert!(
            error.contains("which the document does not have"),
            "{error}"
        );
    }
    let error = generate("a: 1\na: 2\n", &Settings::new()).unwrap_err();
    assert!(error.contains("the API document"), "{error}");
}
