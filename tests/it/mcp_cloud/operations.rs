//! The operations of the API document, by method and path.

use serde_json::Value;

/// The API document's operations, to name the operation of a request.
pub(super) struct Operations(Vec<(String, Vec<String>, String)>);

impl Operations {
    pub(super) fn load() -> Self {
        let read = |name: &str| {
            let path = crate::support::repository().join("openapi").join(name);
            std::fs::read_to_string(path).unwrap()
        };
        let merged = contree_codegen::extensions::merge_texts(
            &read("contree.yaml"),
            &read("extensions.yaml"),
        );
        let document: Value = serde_yaml::from_str(&merged.unwrap()).unwrap();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if let Some(id) = operation["operationId"].as_str() {
                    operations.push((method.to_uppercase(), segments(path), id.to_owned()));
                }
            }
        }
        Self(operations)
    }

    pub(super) fn operation(&self, method: &str, path: &str) -> String {
        let path = segments(path.strip_prefix("/v1").unwrap());
        let matching = self.0.iter().filter(|(known, template, _)| {
            known == method
                && template.len() == path.len()
                && template
                    .iter()
                    .zip(&path)
                    .all(|(template, part)| template.starts_with('{') || template == part)
        });
        // The template with the fewest parameters wins: `/a/b` before `/a/{x}`.
        let best = matching.min_by_key(|(_, template, _)| {
            template.iter().filter(|part| part.starts_with('{')).count()
        });
        best.unwrap_or_else(|| panic!("the API has no {method} {path:?}"))
            .2
            .clone()
    }
}

pub(super) fn segments(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(str::to_owned).collect()
}
