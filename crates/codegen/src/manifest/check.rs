//! Checks that the manifest covers every operation of the API and that hints are true.

use super::api::Api;
use super::model::{LocalEffect, Manifest};
use super::names::suggestion;
use super::problem::{Problem, SourceFile};
use super::resolve::{ResolvedManifest, Tool};

/// Reports mistakes in the coverage of the API, in hints, and in toolsets:
///
/// - operations that no tool uses and that `unexposed` does not explain
/// - hints that contradict the operations of their tool
/// - toolsets without tools
pub fn check(
    source: &SourceFile,
    manifest: &Manifest,
    resolved: &ResolvedManifest,
    api: &Api,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_coverage(&source.name, manifest, resolved, api, &mut problems);
    for tool in &resolved.tools {
        check_hints(&source.name, manifest, tool, api, &mut problems);
    }
    for (toolset, doc) in manifest.toolsets.iter() {
        if !resolved
            .tools
            .iter()
            .any(|tool| tool.toolset == toolset.value)
        {
            let text = format!(
                "no tool belongs to the toolset `{}` (remove it)",
                toolset.value
            );
            problems.push(Problem::new(&source.name, toolset.line.min(doc.line), text));
        }
    }
    problems
}

fn check_coverage(
    file: &str,
    manifest: &Manifest,
    resolved: &ResolvedManifest,
    api: &Api,
    problems: &mut Vec<Problem>,
) {
    let tool_using = |id: &str| {
        resolved
            .tools
            .iter()
            .find(|tool| tool.uses.iter().any(|used| used == id))
    };
    for (id, operation) in &api.operations {
        if tool_using(id).is_none() && !manifest.unexposed.contains_key(id.as_str()) {
            let remedy = format!(
                "name it in a tool's `uses`, or under `unexposed` of {file} with the reason"
            );
            problems.push(Problem::new(
                &operation.file,
                operation.line,
                format!("no tool uses `{id}` ({remedy})"),
            ));
        }
    }
    for (id, reason) in manifest.unexposed.iter() {
        let mut problem = |text: String| problems.push(Problem::new(file, id.line, text));
        if !api.operations.contains_key(id.as_str()) {
            let hint = suggestion(id, api.operations.keys().map(String::as_str));
            problem(format!(
                "unexposed: the API has no operation `{}`{hint}",
                id.value
            ));
        }
        if let Some(tool) = tool_using(id) {
            problem(format!(
                "`{}` is unexposed, yet `{}` uses it (remove it from `unexposed`, or from the tool)",
                id.value, tool.name
            ));
        }
        if reason.trim().is_empty() {
            problem(format!(
                "unexposed: no reason for `{}` (give one)",
                id.value
            ));
        }
    }
}

fn check_hints(
    file: &str,
    manifest: &Manifest,
    tool: &Tool,
    api: &Api,
    problems: &mut Vec<Problem>,
) {
    let Some(model) = manifest.tools.get(tool.name.as_str()) else {
        return;
    };
    let mismatches = mismatches(tool, api);
    match &model.hints.why {
        None => {
            for mismatch in mismatches {
                let text = format!(
                    "{}: hints {mismatch} (change the hint, or add `why` to the hints)",
                    tool.name
                );
                problems.push(Problem::new(file, model.hints.line, text));
            }
        }
        Some(why) if mismatches.is_empty() => {
            let text = format!(
                "{}: `why` explains nothing, since the hints agree with `uses` and `local`",
                tool.name
            );
            problems.push(Problem::new(file, why.line, format!("{text} (remove it)")));
        }
        Some(_) => {}
    }
    if tool.hints.read_only && tool.hints.destructive {
        let text = format!(
            "{}: hints say both read_only and destructive (change one)",
            tool.name
        );
        problems.push(Problem::new(file, model.hints.line, text));
    }
}

/// The hints that contradict the operations and the local effects of a tool.
fn mismatches(tool: &Tool, api: &Api) -> Vec<String> {
    let method = |id: &str| {
        api.operations
            .get(id)
            .map_or("", |operation| operation.method.as_str())
    };
    let using = |methods: &[&str]| tool.uses.iter().find(|id| methods.contains(&method(id)));
    let describe = |id: &String| format!("`{id}` is a {}", method(id));
    let writing = using(&["POST", "PUT", "PATCH", "DELETE"]);
    let writes_here = tool.local == LocalEffect::Write;
    let hints = &tool.hints;
    let mut mismatches = Vec::new();
    if hints.read_only {
        mismatches.extend(writing.map(|id| format!("say read_only, but {}", describe(id))));
        mismatches.extend(writes_here.then(|| "say read_only, but `local: write`".to_owned()));
        mismatches
            .extend((!hints.idempotent).then(|| "say read_only, but deny idempotent".to_owned()));
    } else if writing.is_none() && !writes_here {
        mismatches.push("deny read_only, but it only reads".to_owned());
    }
    if !hints.destructive {
        mismatches
            .extend(using(&["DELETE"]).map(|id| format!("deny destructive, but {}", describe(id))));
    }
    if hints.idempotent {
        mismatches
            .extend(using(&["POST"]).map(|id| format!("say idempotent, but {}", describe(id))));
    }
    if hints.open_world && using(&["POST"]).is_none() {
        mismatches.push("say open_world, but it starts nothing".to_owned());
    }
    mismatches
}
