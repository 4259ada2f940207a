//! The components of a program, as CycloneDX JSON.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::error::TaskError;

/// Lists the packages that a package of the workspace is built from, without those of tests.
///
/// # Errors
/// If `cargo metadata` fails, or the workspace has no such package.
pub fn components(root: &Path, package: &str) -> Result<String, TaskError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The packages have programs for Linux alone.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform", &platform])
        .current_dir(root)
        .output()
        .map_err(|error| TaskError::Metadata(error.to_string()))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(TaskError::Metadata(message.trim().to_owned()));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let bom = bill(&metadata, package)?;
    Ok(format!("{bom:#}\n"))
}

/// The bill of materials that `metadata` describes.
fn bill(metadata: &Value, package: &str) -> Result<Value, TaskError> {
    let packages: BTreeMap<&str, &Value> = list(metadata, "packages")
        .iter()
        .filter_map(|one| Some((one["id"].as_str()?, one)))
        .collect();
    let nodes: BTreeMap<&str, &Value> = list(&metadata["resolve"], "nodes")
        .iter()
        .filter_map(|one| Some((one["id"].as_str()?, one)))
        .collect();
    let members: BTreeSet<&str> = list(metadata, "workspace_members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let root = members
        .iter()
        .find(|id| packages.get(*id).is_some_and(|one| one["name"] == package))
        .ok_or_else(|| TaskError::NoPackage(package.to_owned()))?;

    let mut seen = BTreeSet::from([*root]);
    let mut queue = VecDeque::from([*root]);
    let mut dependencies = Vec::new();
    while let Some(id) = queue.pop_front() {
        let mut used = BTreeSet::new();
        for dependency in nodes.get(id).map_or(&[][..], |node| list(node, "deps")) {
            // The kind is null for ordinary dependencies.
            let is_built = list(dependency, "dep_kinds")
                .iter()
                .any(|kind| kind["kind"] != "dev");
            if let Some(other) = dependency["pkg"].as_str().filter(|_| is_built) {
                used.insert(other);
                if seen.insert(other) {
                    queue.push_back(other);
                }
            }
        }
        dependencies.push(json!({
            "ref": reference(packages[id]),
            "dependsOn": used.iter().map(|id| reference(packages[id])).collect::<Vec<_>>(),
        }));
    }
    let component = |id: &str, kind: &str| {
        let one = packages[id];
        let mut component = json!({
            "type": kind,
            "bom-ref": reference(one),
            "name": one["name"],
            "version": one["version"],
            "purl": reference(one),
        });
        if let Some(licence) = one["license"].as_str() {
            // Some packages still write `MIT/Apache-2.0`.
            component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
        }
        component
    };
    let others = seen.iter().filter(|id| *id != root);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, "application")},
        "components": others.map(|id| component(id, "library")).collect::<Vec<_>>(),
        "dependencies": dependencies,
    }))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The package URL, which also identifies the component.
fn reference(package: &Value) -> String {
    let text = |key: &str| {
        package[key]
            .as_str()
            .unwrap_or_default()
            .replace('+', "%2B")
    };
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_tests_are_no_components() {
        let node = |id: &str, deps: Value| json!({"id": id, "deps": deps});
        let dependency = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0+x", "license": "MIT/Apache-2.0"});
        let metadata = json!({
            "packages": [package("program"), package("a"), package("b"), package("tester")],
            "workspace_members": ["program"],
            "resolve": {"nodes": [
                node("program", json!([dependency("a", Value::Null), dependency("tester", json!("dev"))])),
                node("a", json!([dependency("b", json!("build"))])),
                node("b", json!([])),
                node("tester", json!([])),
            ]},
        });
        let bill = bill(&metadata, "program").unwrap();
        let names: Vec<&str> = list(&bill, "components")
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(bill["components"][0]["purl"], "pkg:cargo/a@1.0.0%2Bx");
        assert_eq!(
            bill["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
    }
}
