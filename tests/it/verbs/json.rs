//! The JSON of each verb has a recorded schema, so that scripts can rely on it.

use std::collections::BTreeSet;

use serde_json::{Deserializer, Value};

use super::Shell;

/// The directory with the schemas. Each is about one object of an output.
const SCHEMAS: &str = "tests/json_schemas";

/// Verbs that have the schema of another one.
const SAME: [(&str, &str); 10] = [
    ("engine df", "df"),
    ("engine prune", "prune"),
    ("images list", "images"),
    ("session", "use"),
    ("session checkout", "use"),
    ("session rollback", "use"),
    ("session use", "use"),
    ("shell", "run"),
    ("untag", "tag"),
    ("auth", "login"),
];

/// Verbs without a schema, and the reasons.
const WITHOUT_JSON: [(&str, &str); 12] = [
    (
        "call",
        "prints the result of a tool, which has a schema of its own",
    ),
    ("cat", "prints the content of a file"),
    ("completions", "prints a script"),
    ("engine", "has only further commands"),
    ("engine serve", "serves until it is ended"),
    ("explain", "prints a text for people"),
    ("http", "serves until it is ended"),
    ("install", "shows a difference of files"),
    ("serve", "serves until it is ended"),
    ("skill", "has only further commands"),
    ("skill install", "shows a difference of files"),
    (
        "tools",
        "has formats of its own, one of them the answer of tools/list",
    ),
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

/// Checks the outputs of verbs against schemas. Each verb has an exit status, the name of a schema,
/// and words. Returns what is wrong.
fn check(
    shell: &Shell,
    used: &mut BTreeSet<String>,
    verbs: &[(i32, &str, &[&str])],
    input: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    for (status, name, words) in verbs {
        let mut json = vec!["--json"];
        json.extend(*words);
        let output = shell.with_input(&json, input.as_bytes());
        let text = super::stdout(&output);
        assert_eq!(
            output.status.code(),
            Some(*status),
            "{words:?}: {text}{}",
            super::stderr(&output)
        );
        found.extend(problems(name, &text));
        used.insert((*name).to_owned());
    }
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
    let verbs: &[(i32, &str, &[&str])] = &[
        (
            0,
            "run",
            &["run", "-s", "echo x; echo two > /f; rm /l; mv /g /h"],
        ),
        (7, "run", &["run", "-D", "-s", "exit 7"]),
        (124, "run", &["run", "-D", "-t", "1", "--", "sleep", "60"]),
        (0, "use", &["use"]),
        (0, "images", &["images", "-a"]),
        (0, "images-tree", &["images", "--tree"]),
        (0, "images-tree", &["log", "--graph"]),
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
        (0, "cd", &["cd", "/d"]),
        (0, "env-set", &["env", "C=d", "A_TOKEN=secret"]),
        (0, "env-set", &["env", "-U", "C"]),
        (0, "cp", &["cp", "/etc/added", "added"]),
        (0, "cp", &["cp", "/etc", "etc"]),
        (0, "export", &["export", "/etc", "-F", "etc.tar"]),
        (0, "exec", &["exec", running, "true"]),
        (0, "publish", &["publish", running, "8000"]),
        (0, "publish-all", &["publish"]),
        (0, "snapshot", &["snapshot", running]),
        (0, "build", &["build", "-t", "b"]),
        (0, "push", &["push", "f", &registry]),
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
    ];
    let mut found = check(&shell, &mut used, verbs, "");
    shell.ok(&["kill", running]);
    // The verbs that change the session come last.
    let changes: &[(i32, &str, &[&str])] = &[
        (0, "use", &["use", "host"]),
        (0, "use", &["session"]),
        (0, "session-branch-name", &["session", "branch", "b"]),
        (0, "use", &["session", "checkout", "b"]),
        (0, "use", &["session", "checkout", "-b", "c"]),
        (0, "session-branch-name", &["session", "branch", "-U", "b"]),
        (0, "use", &["session", "rollback"]),
        (0, "tag", &["tag", "host", "u"]),
        (0, "tag", &["tag", "-U", "host", "u"]),
        (0, "tag", &["untag", "b"]),
        (0, "images", &["images", "list"]),
        (0, "save", &["save", "f", "saved.tar"]),
        (
            0,
            "run-detached",
            &["run", "-d", "-D", "host", "--", "true"],
        ),
        (0, "run", &["shell", "host", "-D"]),
        (0, "use", &["-S", "other", "use", "host"]),
        (0, "use", &["session", "use", "other"]),
        (0, "session-delete", &["session", "delete", "other"]),
        (0, "df", &["engine", "df"]),
        (0, "engine-check", &["engine", "check", "--json"]),
        (
            0,
            "engine-refresh-host",
            &["engine", "refresh-host", "--json"],
        ),
        (0, "doctor", &["doctor", "--json"]),
    ];
    found.extend(check(&shell, &mut used, changes, ""));
    found.extend(logins(&runtime, &mut used));
    assert!(found.is_empty(), "{}", found.join("\n"));
    let recorded: BTreeSet<String> = schema_names();
    assert_eq!(used, recorded, "each schema is used, and none is missing");
}

/// Checks the verbs of logins with a stub of a service, and returns what is wrong.
fn logins(runtime: &tokio::runtime::Runtime, used: &mut BTreeSet<String>) -> Vec<String> {
    let url = runtime.block_on(crate::support::stub::Stub::default().start());
    let registry = runtime.block_on(crate::push_registry::PushRegistry::start());
    let registry = registry.address;
    let shell = Shell::new();
    let (url, registry) = (url.as_str(), registry.as_str());
    let verbs: &[(i32, &str, &[&str])] = &[
        (0, "login", &["login", "--url", url, "--token-stdin"]),
        (
            0,
            "login",
            &["auth", "-p", "w", "-P", "x", "-u", url, "--token-stdin"],
        ),
        (0, "auth-list", &["auth", "list"]),
        (0, "auth-switch", &["auth", "switch", "w"]),
        (0, "auth-status", &["auth", "status"]),
        (
            0,
            "login-registry",
            &["login", registry, "--username", "me", "--password-stdin"],
        ),
        (0, "auth-logout", &["auth", "logout", registry]),
        (0, "auth-logout", &["auth", "logout"]),
    ];
    check(&shell, used, verbs, "a-secret-token")
}

fn schema_names() -> BTreeSet<String> {
    let files = std::fs::read_dir(crate::support::repository().join(SCHEMAS)).unwrap();
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    files.map(name).collect()
}

/// Every verb of the program, with those of groups, from its help.
fn verbs(words: &[&str], found: &mut BTreeSet<String>) {
    let mut command = std::process::Command::new(crate::support::CONTREE);
    let output = command.args(words).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let Some((_, commands)) = help.split_once("Commands:\n") else {
        return;
    };
    let lines = commands.lines().take_while(|line| !line.is_empty());
    for line in lines.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            let verb = [words, &[name]].concat();
            found.insert(verb.join(" "));
            verbs(&verb, found);
        }
    }
}

/// A new verb needs a schema, or an entry in a list.
#[test]
fn each_verb_has_a_schema_or_a_reason() {
    let mut all = BTreeSet::new();
    verbs(&[], &mut all);
    assert!(all.len() > 60, "{all:?}");
    let schemas = schema_names();
    let without: BTreeSet<&str> = WITHOUT_JSON.iter().map(|(verb, _)| *verb).collect();
    for (verb, other) in SAME {
        assert!(all.contains(verb), "{verb} is no verb");
        assert!(schemas.contains(other), "{verb}: {other} has no schema");
    }
    for verb in &without {
        assert!(all.contains(*verb), "{verb} is no verb");
    }
    for verb in &all {
        let has_schema =
            schemas.contains(&verb.replace(' ', "-")) || SAME.iter().any(|(same, _)| same == verb);
        let is_without = without.contains(verb.as_str());
        assert!(has_schema != is_without, "{verb}");
    }
}
