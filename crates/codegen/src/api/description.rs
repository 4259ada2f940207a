//! Looks up descriptions in the document by the names of the generated code.

use serde_json::Value;

/// The most references in a chain, and the most nested `allOf` parts, that are followed.
const MAX_REFERENCES: usize = 16;

/// A document whose descriptions can be looked up.
pub(super) struct Description {
    document: Value,
}

/// A name in lower case and without punctuation, since the generator changes both.
pub(super) fn normalise(name: &str) -> String {
    let name = name.strip_prefix("r#").unwrap_or(name);
    name.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

impl Description {
    pub(super) fn of(document: &Value) -> Self {
        Self {
            document: document.clone(),
        }
    }

    /// The description of a generated type.
    pub(super) fn schema(&self, type_name: &str) -> Option<String> {
        if let Some(schema) = self.schema_of(type_name) {
            return self.text(schema);
        }
        // The type of a parameter is named after its operation and itself.
        let wanted = normalise(type_name);
        self.operations().find_map(|(item, operation)| {
            let id = normalise(operation["operationId"].as_str()?);
            let name = wanted.strip_prefix(&id)?;
            self.parameters(item, operation)
                .find(|parameter| {
                    parameter["name"].as_str().map(normalise).as_deref() == Some(name)
                })
                .and_then(|parameter| self.text(parameter))
        })
    }

    /// The description of a property, by the name of its type and its name in JSON.
    pub(super) fn property(&self, type_name: &str, property: &str) -> Option<String> {
        let schema = self.schema_of(type_name)?;
        self.text(self.property_of(schema, property, MAX_REFERENCES)?)
    }

    /// The first line of the summary of an operation, else of its description, by the name of its
    /// function.
    pub(super) fn summary(&self, function: &str) -> Option<String> {
        let (_, operation) = self.operation(function)?;
        let text = ["summary", "description"]
            .into_iter()
            .find_map(|key| operation[key].as_str())?;
        let line = text.trim().lines().next()?.trim_end_matches('.');
        Some(line.to_owned()).filter(|line| !line.is_empty())
    }

    /// The description of a parameter, by the names of its function and of its setter.
    pub(super) fn parameter(&self, function: &str, setter: &str) -> Option<String> {
        let (item, operation) = self.operation(function)?;
        let wanted = normalise(setter);
        let parameter = self
            .parameters(item, operation)
            .find(|parameter| parameter["name"].as_str().map(normalise).as_ref() == Some(&wanted));
        parameter.and_then(|parameter| self.text(parameter))
    }

    /// The description of the body of a request, by the name of its function.
    pub(super) fn body(&self, function: &str) -> Option<String> {
        let (_, operation) = self.operation(function)?;
        let body = self.resolve(&operation["requestBody"]);
        body["description"].as_str().map(str::to_owned).or_else(|| {
            let (_, content) = body["content"].as_object()?.iter().next()?;
            self.text(&content["schema"])
        })
    }

    /// The error statuses of an operation with their descriptions, by the name of its function.
    pub(super) fn errors(&self, function: &str) -> Vec<(String, String)> {
        let Some((_, operation)) = self.operation(function) else {
            return Vec::new();
        };
        let answers = operation["responses"].as_object().into_iter().flatten();
        answers
            .filter(|(status, _)| status.starts_with(['4', '5']) || *status == "default")
            .filter_map(|(status, answer)| {
                let text = self.resolve(answer)["description"].as_str()?;
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let status = match status.as_str() {
                    "default" => "any other".to_owned(),
                    code => code.to_uppercase(),
                };
                Some((status, text))
            })
            .collect()
    }

    /// All operations, each with its path item.
    fn operations(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(_, item)| {
            let operations = item.as_object().into_iter().flatten();
            operations.map(move |(_, operation)| (item, operation))
        })
    }

    fn operation(&self, function: &str) -> Option<(&Value, &Value)> {
        let wanted = normalise(function);
        self.operations().find(|(_, operation)| {
            operation["operationId"].as_str().map(normalise).as_ref() == Some(&wanted)
        })
    }

    /// The parameters of an operation, and those that all operations of its path share.
    fn parameters<'a>(
        &'a self,
        item: &'a Value,
        operation: &'a Value,
    ) -> impl Iterator<Item = &'a Value> {
        let lists = [operation, item].map(|owner| owner["parameters"].as_array());
        let all = lists.into_iter().flatten().flatten();
        all.map(|parameter| self.resolve(parameter))
    }

    fn schema_of(&self, type_name: &str) -> Option<&Value> {
        let wanted = normalise(type_name);
        let schemas = self.document["components"]["schemas"].as_object()?;
        let (_, schema) = schemas.iter().find(|(name, _)| normalise(name) == wanted)?;
        Some(schema)
    }

    /// The schema of a property, even if a part of `allOf` has it. The last part takes precedence.
    fn property_of<'a>(
        &'a self,
        schema: &'a Value,
        property: &str,
        depth: usize,
    ) -> Option<&'a Value> {
        let depth = depth.checked_sub(1)?;
        let schema = self.resolve(schema);
        let properties = schema["properties"].as_object();
        if let Some(found) = properties.and_then(|properties| properties.get(property)) {
            return Some(found);
        }
        let parts = schema["allOf"].as_array().into_iter().flatten().rev();
        parts
            .filter_map(|part| self.property_of(part, property, depth))
            .next()
    }

    /// The first description or title of a schema or parameter, of its reference, or of its parts.
    fn text(&self, value: &Value) -> Option<String> {
        let resolved = self.resolve(value);
        let parts = resolved["allOf"].as_array().into_iter().flatten();
        let candidates = [value, resolved, &resolved["schema"]];
        candidates
            .into_iter()
            .chain(parts)
            .flat_map(|candidate| [candidate, self.resolve(candidate)])
            .flat_map(|candidate| [&candidate["description"], &candidate["title"]])
            .filter_map(Value::as_str)
            .map(|text| text.trim().to_owned())
            .find(|text| !text.is_empty())
    }

    /// The value that a chain of references leads to.
    fn resolve<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        for _ in 0..MAX_REFERENCES {
            let target = value["$ref"]
                .as_str()
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.document.pointer(pointer));
            match target {
                Some(target) => value = target,
                None => break,
            }
        }
        value
    }
}
