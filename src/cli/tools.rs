//! `contree-mcp tools`: what there is to call.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::start::Start;
use crate::tools::Tool;

/// List the tools and their parameters
#[derive(Args, Debug)]
pub(super) struct Tools {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl Tools {
    pub(super) fn run(&self, start: &Start) -> Result<u8, String> {
        let text = match self.format {
            Format::Json => {
                let all: Vec<Value> = start.offer.tools().map(machine).collect();
                format!("{:#}\n", Value::Array(all))
            }
            Format::Text => start.offer.tools().map(human).collect(),
        };
        super::live::print(&text)?;
        Ok(0)
    }
}

fn machine(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input_schema(),
        "outputSchema": tool.output_schema(),
        "annotations": {
            "readOnlyHint": tool.hints.read_only,
            "destructiveHint": tool.hints.destructive,
            "idempotentHint": tool.hints.idempotent,
            "openWorldHint": tool.hints.open_world,
        },
    })
}

/// `NAME PARAM PARAM [PARAM=DEFAULT] …` and what it is.
fn human(tool: &Tool) -> String {
    let schema = tool.input_schema();
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut line = tool.name.to_owned();
    for (name, parameter) in schema["properties"].as_object().into_iter().flatten() {
        line.push_str(&match parameter.get("default") {
            _ if required.contains(&name.as_str()) => format!(" {name}"),
            Some(default) => format!(" [{name}={default}]"),
            None => format!(" [{name}]"),
        });
    }
    format!("{line}\n    {}\n", tool.title)
}
