//! JSON Schemas of arguments and results.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// A schema that is built at first use.
pub(super) type Schema = LazyLock<Value>;

/// Returns the names that the schema of an object requires.
pub(crate) fn required_names(schema: &Value) -> Vec<&str> {
    let names = schema["required"].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).collect()
}

/// Parses a schema that the build wrote.
pub(super) fn input_schema(text: &str) -> Value {
    #[expect(clippy::expect_used, reason = "the build serialised it")]
    serde_json::from_str(text).expect("the build writes schemas as JSON")
}

/// Builds the self-contained schema of a result. Results omit null fields, so nothing in it is
/// nullable.
pub(super) fn output_schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("title");
        root.remove("description");
    }
    make_portable(&mut schema);
    schema
}

/// Removes what some clients reject: null among the types, and formats. Those of numbers are
/// unknown to JSON Schema, and a client that checks results then drops the whole schema.
fn make_portable(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // A property of that name is an object, and no text.
            if fields.get("format").is_some_and(Value::is_string) {
                fields.remove("format");
            }
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    fields.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(branches)) = fields.get_mut("anyOf") {
                branches.retain(|branch| branch["type"] != "null");
                if let [Value::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    fields.remove("anyOf");
                    for (key, value) in only {
                        fields.entry(key).or_insert(value);
                    }
                }
            }
            fields.values_mut().for_each(make_portable);
        }
        Value::Array(items) => items.iter_mut().for_each(make_portable),
        _ => {}
    }
}
