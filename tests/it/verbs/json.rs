//! The JSON of each verb has a recorded schema, so that scripts can rely on it.

use std::collections::BTreeSet;

use serde_json::{Deserializer, Value};

use super::Shell;

/// The directory with the schemas. Each is about one object of an output.
const SCHEMAS: &str = "tests/json_schemas";

/// Verbs without a schema: their output is a sentence, a content or a stream. The record of `login`
/// needs a service.
const WITHOUT_JSON: [&str; 10] = [
    "cat",
    "completions",
    "cp",
    "export",
    "http",
    "login",
    "save",
    "serve",
    "tag",
    "untag",
];

/// Returns what is wrong with an output, by the schema `name`.
fn problems(name: &str, output: &str) -> Vec<String> {
    let path = crate::support::repository()
        .join(SCHEMAS)
        .join(format!("{name}.json"));
    let schema = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut found = Vec::new();
    let mut count = 0;
    for object in Deserializer::from_str(output).into_iter::<Value>() {
        let object = object.unwrap_or_else(|error| panic!("{name}: {error}: {output}"));
        let errors = validator.iter_errors(&object);
        found.extend(errors.map(|error| format!("{name}{}: {error}", error.instance_path())));
        count += 1;
    }
    assert!(count > 0, "{name}: no object was printed");
    found
}

#[test]
fn the_json_of_each_verb_has_its_recorded_schema() {
    let shell = Shell::new();
    let home = shell.0.path();
    std::fs::create_dir(home.join("files")).unwrap();
    std::fs::write(home.join("files/name"), "content").unwrap();
    let mut archive = tar::Builder::new(std::fs::File::create(home.join("f.tar")).unwrap());
    archive.append_dir_all("", home.join("files")).unwrap();
    archive.finish().unwrap();
    let source = format!("rootfs:{}", home.join("f.tar").display());
    std::fs::create_dir(home.join("empty")).unwrap();
    std::fs::write(home.join("Dockerfile"), "FROM tag:host\n").unwrap();
    shell.ok(&[
        "run",
        "-s",
        "echo one > /f; ln -s f /l; mkdir /d; seq 99 > /g; echo > /etc/added",
    ]);
    shell.ok(&["tag", "t"]);
    shell.ok(&["env", "A=b"]);
    shell.ok(&["cd", "/d"]);
    let running = shell.ok(&["run", "-d", "-D", "sleep", "600"]);
    let running = running.trim();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(crate::push_registry::PushRegistry::start());
    let registry = registry.url("j:1");
    let mut used = BTreeSet::new();
    let mut found = Vec::new();
    for (status, name, words) in [
        (
            0,
            "run",
            &["run", "-s", "echo x; echo two > /f; rm /l; mv /g /h"][..],
        ),
        (7, "run", &["run", "-D", "-s", "exit 7"]),
        (124, "run", &["run", "-D", "-t", "1", "--", "sleep", "60"]),
        (0, "use", &["use"]),
        (0, "images", &["images", "-a"]),
        (0, "images-tree", &["images", "--tree"]),
        (
            0,
            "images-import",
            &["images", "import", &source, "--tag", "f"],
        ),
        (0, "ps", &["ps", "-a"]),
        (0, "show", &["show", "@5"]),
        (0, "logs", &["logs", "@5"]),
        (0, "wait", &["wait", "@5"]),
        (0, "kill", &["kill", "@5"]),
        (0, "log", &["log"]),
        (0, "diff", &["diff"]),
        (0, "diff", &["diff", "--patch"]),
        (0, "ls", &["ls", "/"]),
        (0, "grep", &["grep", "-C1", "root", "/etc/passwd"]),
        (0, "session-list", &["session", "list"]),
        (0, "session-show", &["session", "show"]),
        (0, "session-branch", &["session", "branch"]),
        (0, "cd", &["cd"]),
        (0, "env", &["env"]),
        (0, "exec", &["exec", running, "true"]),
        (0, "publish", &["publish", running, "8000"]),
        (0, "snapshot", &["snapshot", running]),
        (0, "build", &["build", "-t", "b"]),
        (0, "push", &["push", "@", &registry]),
        (
            0,
            "apply",
            &["apply", "@", "/etc", "empty", "-n", "--base", "host"],
        ),
        (0, "auth-status", &["auth", "status"]),
        (0, "df", &["df"]),
        (0, "rmi", &["rmi", "-f", "@"]),
        (0, "prune", &["prune", "-n"]),
        (0, "prune", &["prune", "-f"]),
    ] {
        let mut json = vec!["--json"];
        json.extend(words);
        let output = shell.run(&json);
        let text = super::stdout(&output);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{words:?}: {text}{}",
            super::stderr(&output)
        );
        found.extend(problems(name, &text));
        used.insert(name.to_owned());
    }
    shell.ok(&["kill", running]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let recorded: BTreeSet<String> = schema_names();
    assert_eq!(used, recorded, "each schema is used, and none is missing");
}

fn schema_names() -> BTreeSet<String> {
    let files = std::fs::read_dir(crate::support::repository().join(SCHEMAS)).unwrap();
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    files.map(name).collect()
}

/// A new verb needs a schema, or an entry in the list of those without JSON.
#[test]
fn each_verb_has_a_schema_or_prints_no_json() {
    let program = |name: &str| {
        let output = std::process::Command::new(name).arg("--help").output();
        let help = String::from_utf8(output.unwrap().stdout).unwrap();
        let (_, commands) = help.split_once("Commands:\n").unwrap();
        let names = commands
            .lines()
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .map(|line| line.split_whitespace().next().unwrap().to_owned());
        names.collect::<BTreeSet<String>>()
    };
    let all = program(crate::support::CONTREE);
    let shared = program(env!("CARGO_BIN_EXE_contree-mcp"));
    let verbs: Vec<&String> = all.difference(&shared).collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    let schemas = schema_names();
    let has_schema = |verb: &str| {
        let prefix = format!("{verb}-");
        schemas
            .iter()
            .any(|name| name == verb || name.starts_with(&prefix))
    };
    for verb in verbs {
        let without = WITHOUT_JSON.contains(&verb.as_str());
        assert!(without != has_schema(verb), "{verb}");
    }
}
