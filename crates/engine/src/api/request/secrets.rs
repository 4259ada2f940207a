//! Hides what the record of a request must not keep: input, and variables that look like secrets.

use contree_http::secret_variables::{MASK, is_secret};
use serde_json::Value;

use super::SpawnRequest;

impl SpawnRequest {
    /// The request as answers show it: without the values of secret variables.
    pub(crate) fn masked(&self) -> Self {
        let mut request = self.clone();
        for (name, value) in request.env.iter_mut().flatten() {
            if let Some(value) = value
                && is_secret(name, value)
            {
                *value = MASK.to_owned();
            }
        }
        request
    }

    /// The request as it is recorded: without secret variables and without the content of standard
    /// input.
    pub(crate) fn recorded(&self) -> Self {
        let mut request = self.masked();
        if let Some(stdin) = &mut request.stdin {
            stdin.value.clear();
        }
        request
    }
}

/// Masks secret variables in a recorded request. Earlier releases recorded their values.
pub(crate) fn mask_variables(request: &mut Value) {
    let variables = request.get_mut("env").and_then(Value::as_object_mut);
    for (name, value) in variables.into_iter().flatten() {
        if value.as_str().is_some_and(|text| is_secret(name, text)) {
            *value = Value::from(MASK);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::request;
    use super::*;

    #[test]
    fn a_record_has_neither_secrets_nor_input() {
        let full = request(json!({
            "env": {"A": "1", "MY_TOKEN": "hunter2", "OLD_TOKEN": null},
            "stdin": {"value": "typed", "close": false},
        }));
        let shown = serde_json::to_value(full.masked()).unwrap();
        let env = json!({"A": "1", "MY_TOKEN": "***", "OLD_TOKEN": null});
        assert_eq!(shown["env"], env);
        assert_eq!(shown["stdin"]["value"], "typed");
        let recorded = serde_json::to_value(full.recorded()).unwrap();
        assert_eq!(recorded["env"], env);
        assert_eq!(recorded["stdin"]["value"], "");
        assert_eq!(recorded["stdin"]["close"], false);
        // The run itself gets both.
        assert_eq!(full.stdin_bytes().unwrap(), b"typed");
        let mut earlier = serde_json::to_value(&full).unwrap();
        mask_variables(&mut earlier);
        assert_eq!(earlier["env"], env);
    }
}
