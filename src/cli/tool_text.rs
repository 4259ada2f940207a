//! Tools as text for people: a line of a list, and the documentation of one.

use std::fmt::Write as _;

use serde_json::Value;

use crate::tools::{Tool, required_names};

/// The tool as `NAME PARAM PARAM [PARAM=DEFAULT] …` and its title.
pub(super) fn list_entry(tool: &Tool) -> String {
    let schema = tool.input_schema();
    let required = required_names(&schema);
    let mut line = tool.name.to_owned();
    for (name, parameter) in parameters(&schema) {
        line.push_str(&match parameter.get("default") {
            _ if required.contains(&name.as_str()) => format!(" {name}"),
            Some(default) => format!(" [{name}={default}]"),
            None => format!(" [{name}]"),
        });
    }
    format!("{line}\n    {}\n", tool.title)
}

/// The documentation of a tool: its description, its parameters, and how to call it.
pub(super) fn documentation(tool: &Tool) -> String {
    let schema = tool.input_schema();
    let required = required_names(&schema);
    let mut text = format!("{}: {}\n\n{}\n", tool.name, tool.title, tool.description);
    let mut heading = "\nParameters:\n";
    for (name, parameter) in parameters(&schema) {
        let mut facts = vec![type_name(parameter)];
        match parameter.get("default") {
            _ if required.contains(&name.as_str()) => facts.push("required".to_owned()),
            Some(default) => facts.push(format!("default {default}")),
            None => {}
        }
        for (keyword, words) in [("minimum", "at least"), ("maximum", "at most")] {
            if let Some(bound) = parameter.get(keyword) {
                facts.push(format!("{words} {bound}"));
            }
        }
        let _ = writeln!(text, "{heading}  {name}  ({})", facts.join(", "));
        if let Some(description) = parameter["description"].as_str() {
            let _ = writeln!(text, "      {description}");
        }
        heading = "";
    }
    let arguments = required.iter().map(|name| format!(" {name}=…"));
    let _ = writeln!(
        text,
        "\nCall it with `{} call {}{}`.",
        super::output::program(),
        tool.name,
        arguments.collect::<String>()
    );
    text
}

fn parameters(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// The type of a parameter in words, such as `array of string` or `one of stop, skip`.
fn type_name(parameter: &Value) -> String {
    if let Some(values) = parameter["enum"].as_array() {
        let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        return format!("one of {}", values.join(", "));
    }
    let name = |schema: &Value| schema["type"].as_str().unwrap_or("any").to_owned();
    match parameter["type"].as_str() {
        Some("array") => format!("array of {}", name(&parameter["items"])),
        Some("object") if parameter["additionalProperties"].is_object() => {
            format!("map of {}", name(&parameter["additionalProperties"]))
        }
        _ => name(parameter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::find_tool;

    #[test]
    fn the_documentation_has_every_parameter() {
        let tool = find_tool("run").unwrap();
        let text = documentation(tool);
        let schema = tool.input_schema();
        for (name, parameter) in parameters(&schema) {
            assert!(text.contains(&format!("\n  {name}  (")), "{name}: {text}");
            let description = parameter["description"].as_str().unwrap_or_default();
            assert!(text.contains(description), "{name}: {text}");
        }
        assert!(
            text.contains("required)") && text.contains("default "),
            "{text}"
        );
        assert!(text.contains("call run command=… image=…`"), "{text}");
    }
}
