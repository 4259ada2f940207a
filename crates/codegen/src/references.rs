//! Finds references of a document that lead back to themselves.

use std::collections::BTreeSet;

use serde_json::Value;

/// Checks that no reference of a document leads back to itself, directly or through the parts of
/// `allOf`. Such a schema has no meaning, and following its references never ends.
///
/// A schema may contain itself in a property, in its items or in an alternative.
///
/// # Errors
/// The chain of such a reference, from its first name to the same name.
pub(crate) fn check(document: &Value) -> Result<(), Vec<String>> {
    let mut starts = BTreeSet::new();
    collect(document, &mut starts);
    let mut finished = BTreeSet::new();
    for start in starts {
        visit(document, start, &mut Vec::new(), &mut finished)?;
    }
    Ok(())
}

/// Writes a chain of references for a message: `A → B → A`.
pub(crate) fn chain_text(chain: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = chain.iter().map(|name| name_of(name.as_ref())).collect();
    names.join(" → ")
}

/// The name of a referenced schema, or the whole reference to another part.
pub(crate) fn name_of(reference: &str) -> &str {
    reference
        .strip_prefix("#/components/schemas/")
        .unwrap_or(reference)
}

/// The references that a schema consists of: its own, or those of its `allOf` parts. They are in
/// the order of the document.
pub(crate) fn parts(schema: &Value) -> Vec<&str> {
    if let Some(reference) = schema["$ref"].as_str() {
        return vec![reference];
    }
    let parts_of_all = schema["allOf"].as_array().into_iter().flatten();
    parts_of_all.flat_map(parts).collect()
}

/// Adds all references below a value to `found`.
fn collect<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| collect(value, found));
        }
        _ => {}
    }
}

fn visit<'a>(
    document: &'a Value,
    reference: &'a str,
    chain: &mut Vec<&'a str>,
    finished: &mut BTreeSet<&'a str>,
) -> Result<(), Vec<String>> {
    if finished.contains(reference) {
        return Ok(());
    }
    if let Some(first) = chain.iter().position(|other| *other == reference) {
        let chain = chain[first..].iter().chain([&reference]);
        return Err(chain.map(|name| (*name).to_owned()).collect());
    }
    chain.push(reference);
    if let Some(target) = document.pointer(reference.trim_start_matches('#')) {
        for part in parts(target) {
            visit(document, part, chain, finished)?;
        }
    }
    chain.pop();
    finished.insert(reference);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(schemas: Value) -> Option<String> {
        let document = json!({"components": {"schemas": schemas}});
        check(&document).err().map(|chain| chain_text(&chain))
    }

    fn to(name: &str) -> Value {
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    #[test]
    fn a_reference_that_leads_back_to_itself_is_found_with_its_chain() {
        assert_eq!(chain(json!({"A": to("A")})).unwrap(), "A → A");
        let parts =
            json!({"A": {"allOf": [{"type": "object"}, to("B")]}, "B": to("C"), "C": to("A")});
        assert_eq!(chain(parts).unwrap(), "A → B → C → A");
        let document = json!({"components": {"parameters": {
            "P": {"$ref": "#/components/parameters/P"},
        }}});
        let found = check(&document).unwrap_err();
        assert_eq!(
            chain_text(&found),
            "#/components/parameters/P → #/components/parameters/P"
        );
    }

    #[test]
    fn a_schema_may_contain_itself() {
        let tree = json!({
            "Tree": {"properties": {"left": to("Tree"), "all": {"type": "array", "items": to("Tree")}}},
            "Both": {"allOf": [to("Tree"), to("Tree")]},
            "Lost": to("Nowhere"),
        });
        assert_eq!(chain(tree), None);
    }
}
