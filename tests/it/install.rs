//! `install` and `skill install`, on configurations as real clients have them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::Home;

/// A configuration with comments and other entries: the client, its path below the home directory,
/// and its text.
const CONFIGURATIONS: &[(&str, &str, &str)] = &[
    (
        "claude-code",
        ".claude.json",
        "{\n  \"numStartups\": 41,\n  \"installMethod\": \"native\",\n  \"tipsHistory\": {\n    \"new-user-warmup\": 1\n  },\n  \"userID\": \"5c0f\",\n  \"mcpServers\": {\n    \"github\": {\n      \"type\": \"http\",\n      \"url\": \"https://api.example.com/mcp/\",\n      \"headers\": {\"Authorization\": \"Bearer a-token\"}\n    }\n  },\n  \"projects\": {\"/home/me/p\": {\"mcpServers\": {}}}\n}",
    ),
    (
        "claude-desktop",
        ".config/Claude/claude_desktop_config.json",
        "{\r\n  \"globalShortcut\": \"Ctrl+Space\",\r\n  \"mcpServers\": {\r\n    \"files\": {\"command\": \"npx\", \"args\": [\"-y\", \"server-files\", \"C:\\\\x\"]}\r\n  }\r\n}\r\n",
    ),
    (
        "codex",
        ".codex/config.toml",
        "# Codex\nmodel = \"gpt-5\" # the large one\n\n[mcp_servers.docs]\ncommand = 'npx'\nargs = [\"-y\", \"docs\"] # quick\n\n  [mcp_servers.docs.env]\n  \"KEY\" = \"value\"\n\n# trusted\n[projects.\"/home/me/p\"]\ntrust_level = \"trusted\"",
    ),
    (
        "cursor",
        ".cursor/mcp.json",
        "{\"mcpServers\":{\"a\":{\"url\":\"https://mcp.example.com/sse\"}}}",
    ),
    (
        "vscode",
        ".config/Code/User/mcp.json",
        "{\n\t// the company's\n\t\"servers\": {\n\t\t\"memory\": {\n\t\t\t\"command\": \"npx\",\n\t\t\t\"args\": [\"-y\", \"server-memory\"], // pinned\n\t\t},\n\t},\n\t\"inputs\": [\n\t\t{\"type\": \"promptString\", \"id\": \"key\", \"password\": true},\n\t],\n}\n",
    ),
    (
        "gemini-cli",
        ".gemini/settings.json",
        "{\n    \"theme\": \"Dracula\",\n    /* tools */\n    \"security\": {\"auth\": {\"selectedType\": \"gemini-api-key\"}}\n}\n",
    ),
    (
        "zed",
        ".config/zed/settings.json",
        "// Zed settings\n//\n// For information on how to configure Zed, see the documentation.\n{\n  \"ui_font_size\": 16, // large\n  \"context_servers\": {\n    // off for now\n    \"old\": {\"source\": \"custom\", \"enabled\": false, \"command\": \"x\", \"args\": [], \"env\": {}},\n  },\n  \"theme\": {\n    \"mode\": \"system\",\n    \"light\": \"One Light\", /* day */\n  },\n}\n",
    ),
    (
        "windsurf",
        ".codeium/windsurf/mcp_config.json",
        "{\n  \"mcpServers\": {}\n}\n",
    ),
    (
        "opencode",
        ".config/opencode/opencode.jsonc",
        "{\n  \"$schema\": \"https://opencode.ai/config.json\",\n  // mine\n  \"mcp\": {\n    \"jira\": {\"type\": \"remote\", \"url\": \"https://jira.example.com/mcp\", \"enabled\": false},\n  },\n}\n",
    ),
];

fn run(home: &Home, arguments: &[&str]) -> Output {
    home.command().args(arguments).output().unwrap()
}

fn out(home: &Home, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn error(home: &Home, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// All files below a directory, with their contents.
fn tree(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push((path.clone(), read(&path)));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_client_is_set_up_and_given_back_byte_for_byte() {
    for (client, path, text) in CONFIGURATIONS {
        let home = Home::new();
        let file = home.path().join(path);
        write(&file, text);

        let shown = out(&home, &["install", client, "--dry-run"]);
        assert!(
            shown.contains("+++ ") && shown.contains("contree-mcp"),
            "{shown}"
        );
        assert_eq!(read(&file), *text, "{client}: a dry run wrote");

        let shown = out(&home, &["install", client]);
        assert!(shown.contains("\n+"), "{client}: {shown}");
        let installed = read(&file);
        assert!(installed.contains("contree-mcp"), "{installed}");
        // Every line of the original text is there in order, with its comment.
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        let everything = squeezed(&installed);
        let mut rest = everything.as_str();
        for line in text.lines() {
            let line = squeezed(line);
            let bare = line.trim_end_matches([',', '}']);
            let at = rest.find(bare);
            assert!(at.is_some(), "{client}: `{line}` is missing in {installed}");
            rest = &rest[at.unwrap_or_default()..];
        }
        assert_eq!(
            installed.matches("\r\n").count(),
            if text.contains("\r\n") {
                installed.matches('\n').count()
            } else {
                0
            },
            "{client}"
        );

        let again = out(&home, &["install", client]);
        assert!(again.contains("set up already"), "{again}");
        assert_eq!(
            read(&file),
            installed,
            "{client}: the second time changed it"
        );
        assert!(out(&home, &["install"]).contains("set up "));

        out(&home, &["install", client, "--uninstall"]);
        assert_eq!(read(&file), *text, "{client}");
        let again = out(&home, &["install", client, "--uninstall"]);
        assert!(again.contains("not set up"), "{again}");
        assert_eq!(read(&file), *text, "{client}");
    }
}

#[test]
fn entries_have_the_form_that_each_client_reads() {
    let home = Home::new();
    for (client, path, pointer, expected) in [
        (
            "claude-code",
            ".claude.json",
            "/mcpServers/contree/type",
            "stdio",
        ),
        (
            "vscode",
            ".config/Code/User/mcp.json",
            "/servers/contree/type",
            "stdio",
        ),
        (
            "zed",
            ".config/zed/settings.json",
            "/context_servers/contree/source",
            "custom",
        ),
        (
            "opencode",
            ".config/opencode/opencode.json",
            "/mcp/contree/type",
            "local",
        ),
    ] {
        out(&home, &["install", client]);
        let value: Value = serde_json::from_str(&read(&home.path().join(path))).unwrap();
        assert_eq!(value.pointer(pointer).unwrap(), expected, "{client}");
        let command = value
            .pointer(pointer)
            .and(value.pointer(&pointer.replace(pointer.rsplit('/').next().unwrap(), "command")));
        let command = command.unwrap();
        let command = command.as_str().or_else(|| command[0].as_str()).unwrap();
        assert_eq!(command, env!("CARGO_BIN_EXE_contree-mcp"), "{client}");
    }
}

#[test]
fn files_and_directories_that_were_made_go_again() {
    for (client, ..) in CONFIGURATIONS {
        let home = Home::new();
        out(&home, &["install", client]);
        out(&home, &["install", client, "--uninstall"]);
        let left = tree(home.path());
        assert_eq!(left, [], "{client}");
        let directories: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "state")
            .collect();
        assert!(directories.is_empty(), "{client}: {directories:?}");
    }
}

#[test]
fn edits_since_the_installation_stay() {
    for (client, path, text) in CONFIGURATIONS {
        let home = Home::new();
        let file = home.path().join(path);
        write(&file, text);
        out(&home, &["install", client]);
        let edit = |text: &str| match *client {
            "codex" => text.replace("gpt-5", "gpt-6"),
            _ => text.replacen('{', "{\"edited\": true, ", 1),
        };
        let edited = edit(&read(&file));
        fs::write(&file, edited).unwrap();
        out(&home, &["install", client, "--uninstall"]);
        assert_eq!(read(&file), edit(text), "{client}");
    }
}

#[test]
fn a_second_installation_over_an_edited_file_is_taken_back_too() {
    let home = Home::new();
    let file = home.path().join(".cursor/mcp.json");
    write(&file, "{\"a\": 1}\n");
    out(&home, &["install", "cursor"]);
    let moved = read(&file)
        .replace(env!("CARGO_BIN_EXE_contree-mcp"), "/old/contree-mcp")
        .replace("\"a\": 1", "\"a\": 2");
    fs::write(&file, moved).unwrap();
    out(&home, &["install", "cursor"]);
    assert!(read(&file).contains(env!("CARGO_BIN_EXE_contree-mcp")));
    out(&home, &["install", "cursor", "--uninstall"]);
    let value: Value = serde_json::from_str(&read(&file)).unwrap();
    assert_eq!(value["a"], 2);
    assert!(!read(&file).contains("contree"), "{value}");
}

#[test]
fn without_the_record_the_entry_goes_and_everything_else_stays() {
    for (client, path, text) in CONFIGURATIONS {
        let home = Home::new();
        let file = home.path().join(path);
        write(&file, text);
        out(&home, &["install", client]);
        fs::remove_dir_all(home.path().join("state")).unwrap();
        out(&home, &["install", client, "--uninstall"]);
        let left = read(&file);
        assert!(!left.contains("contree"), "{client}: {left}");
        for part in [
            "// mine",
            "// off for now",
            "/* day */",
            "# trusted",
            "a-token",
        ] {
            assert_eq!(left.contains(part), text.contains(part), "{client}: {left}");
        }
    }
}

#[test]
fn an_entry_with_options_of_its_own_keeps_them() {
    let home = Home::new();
    let file = home.path().join(".cursor/mcp.json");
    let text = "{\"mcpServers\": {\"contree\": {\"command\": \"/old/contree-mcp\", \"args\": [\"--read-only\"], \"env\": {\"CONTREE_TOKEN\": \"secret\"}}}}\n";
    write(&file, text);
    out(&home, &["install", "cursor"]);
    let value: Value = serde_json::from_str(&read(&file)).unwrap();
    let entry = &value["mcpServers"]["contree"];
    assert_eq!(entry["command"], env!("CARGO_BIN_EXE_contree-mcp"));
    assert_eq!(entry["args"][0], "--read-only");
    assert_eq!(entry["env"]["CONTREE_TOKEN"], "secret");
    out(&home, &["install", "cursor", "--uninstall"]);
    assert_eq!(read(&file), text);
}

#[test]
fn files_that_cannot_be_edited_are_left_alone_with_a_reason() {
    let home = Home::new();
    let cursor = home.path().join(".cursor/mcp.json");
    for (text, reason) in [
        ("{\"mcpServers\": {", "line 1"),
        ("[1]", "not an object"),
        ("{\"mcpServers\": 3}", "`mcpServers` is not an object"),
        ("{\"mcpServers\": {}, \"mcpServers\": {}}", "twice"),
        (
            "{\"mcpServers\": {\"contree\": {\"url\": \"https://x\"}}}",
            "starts no program",
        ),
    ] {
        write(&cursor, text);
        for arguments in [&["install", "cursor"][..], &["install", "codex", "cursor"]] {
            let said = error(&home, arguments);
            assert!(
                said.contains(reason) && said.contains("mcp.json"),
                "{text}: {said}"
            );
            assert_eq!(read(&cursor), text);
            // The other client was not changed either.
            assert!(!home.path().join(".codex").exists());
        }
    }
    fs::write(&cursor, b"{\"a\": \"\xff\"}").unwrap();
    assert!(error(&home, &["install", "cursor"]).contains("UTF-8"));
    let codex = home.path().join(".codex/config.toml");
    write(&codex, "model = \n");
    assert!(error(&home, &["install", "codex"]).contains("not valid TOML"));
    assert!(error(&home, &["install", "--uninstall"]).contains("CLIENT"));
    assert!(error(&home, &["install", "nonsense"]).contains("nonsense"));
}

#[test]
fn no_token_is_written() {
    let home = Home::new();
    for (client, ..) in CONFIGURATIONS {
        let mut command = home.command_for("http://127.0.0.1:9");
        let status = command
            .args(["install", *client, "--token", "another-secret"])
            .status()
            .unwrap();
        assert!(status.success());
    }
    for (path, text) in tree(home.path()) {
        assert!(!text.contains("secret"), "{}", path.display());
    }
}

#[test]
fn a_project_gets_the_name_of_the_program_and_no_path_of_this_machine() {
    let home = Home::new();
    for (client, path) in [
        ("claude-code", ".mcp.json"),
        ("codex", ".codex/config.toml"),
        ("cursor", ".cursor/mcp.json"),
        ("vscode", ".vscode/mcp.json"),
        ("gemini-cli", ".gemini/settings.json"),
        ("zed", ".zed/settings.json"),
        ("opencode", "opencode.json"),
    ] {
        let project = home.path().join("project");
        fs::create_dir_all(&project).unwrap();
        let run = |more: &[&str]| {
            let mut command = home.command();
            command.current_dir(&project).args(["install", client]);
            command.args(more).arg("--project").status().unwrap()
        };
        assert!(run(&[]).success(), "{client}");
        let text = read(&project.join(path));
        assert!(
            text.contains("\"contree-mcp\"") && !text.contains("/contree-mcp"),
            "{text}"
        );
        assert!(run(&["--uninstall"]).success(), "{client}");
        assert_eq!(tree(&project), [], "{client}");
    }
    let said = error(&home, &["install", "windsurf", "--project"]);
    assert!(
        said.contains("Windsurf") && said.contains("--project"),
        "{said}"
    );
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_linked_configuration_stays_a_link_and_keeps_its_mode() {
        let home = Home::new();
        let real = home.path().join("dotfiles/mcp.json");
        write(&real, "{}\n");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        let link = home.path().join(".cursor/mcp.json");
        fs::create_dir(link.parent().unwrap()).unwrap();
        symlink("../dotfiles/mcp.json", &link).unwrap();
        out(&home, &["install", "cursor"]);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(read(&real).contains("contree"));
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
        out(&home, &["install", "cursor", "--uninstall"]);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&real), "{}\n");
    }

    #[test]
    fn surprising_files_are_left_alone() {
        let home = Home::new();
        let file = home.path().join(".cursor/mcp.json");
        fs::create_dir(file.parent().unwrap()).unwrap();
        symlink("nowhere", &file).unwrap();
        assert!(error(&home, &["install", "cursor"]).contains("symbolic link"));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(error(&home, &["install", "cursor"]).contains("not an ordinary file"));
        fs::remove_dir(&file).unwrap();
        write(&file, "{}");
        fs::hard_link(&file, home.path().join("other")).unwrap();
        assert!(error(&home, &["install", "cursor"]).contains("hard links"));
        fs::remove_file(home.path().join("other")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(error(&home, &["install", "cursor"]).contains("read-only"));
        assert_eq!(read(&file), "{}");
    }

    #[test]
    fn a_project_cannot_lead_out_of_itself() {
        let home = Home::new();
        let project = home.path().join("project");
        fs::create_dir(&project).unwrap();
        fs::create_dir(home.path().join("elsewhere")).unwrap();
        symlink(home.path().join("elsewhere"), project.join(".vscode")).unwrap();
        symlink(home.path().join("elsewhere"), project.join(".claude")).unwrap();
        for arguments in [
            ["install", "vscode", "--project"].as_slice(),
            &["skill", "install", "claude-code", "--project"],
        ] {
            let mut command = home.command();
            let output = command
                .current_dir(&project)
                .args(arguments)
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("leads out of the project"), "{said}");
        }
        assert_eq!(tree(&home.path().join("elsewhere")), []);
    }
}

#[test]
fn the_skill_goes_where_agents_look_and_away_again() {
    let home = Home::new();
    for directory in [".claude", ".codex", ".gemini"] {
        fs::create_dir(home.path().join(directory)).unwrap();
    }
    out(&home, &["skill", "install"]);
    for path in [".claude/skills", ".agents/skills", ".gemini/skills"] {
        let text = read(&home.path().join(path).join("contree/SKILL.md"));
        assert!(text.starts_with("---\nname: contree\n"), "{text}");
        assert!(
            text.contains("`run`") && text.contains("get_guide"),
            "{text}"
        );
    }
    assert!(out(&home, &["skill", "install"]).contains("set up already"));
    let edited = home.path().join(".gemini/skills/contree/SKILL.md");
    fs::write(&edited, "mine").unwrap();
    for arguments in [
        &["skill", "install"][..],
        &["skill", "install", "--uninstall"],
    ] {
        assert!(error(&home, arguments).contains("was edited"));
    }
    fs::remove_file(&edited).unwrap();
    out(&home, &["skill", "install"]);
    out(&home, &["skill", "install", "--uninstall"]);
    assert_eq!(tree(home.path()), []);
    assert!(!home.path().join(".claude/skills").exists());
    assert!(home.path().join(".claude").exists());

    let said = error(&home, &["skill", "install", "claude-desktop"]);
    assert!(said.contains("Claude Desktop"), "{said}");
    out(&home, &["skill", "install", "claude-code", "--project"]);
    assert!(home.path().join(".claude/skills/contree/SKILL.md").exists());
}

/// The first code block in a language within the section of a page.
fn block<'a>(page: &'a str, heading: &str, language: &str) -> &'a str {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (_, block) = section.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0
}

#[test]
fn the_page_shows_what_is_written_for_each_client() {
    let page = read(&crate::support::repository().join("docs/quickstart.md"));
    let path = regex::Regex::new(r#""[^"\n]*contree-mcp[^"\n]*""#).unwrap();
    for (client, heading, language) in [
        ("claude-code", "Claude Code", "json"),
        ("claude-desktop", "Claude Desktop", "json"),
        ("codex", "Codex", "toml"),
        ("cursor", "Cursor", "json"),
        ("vscode", "VS Code", "json"),
        ("gemini-cli", "Gemini CLI", "json"),
        ("zed", "Zed", "json"),
        ("windsurf", "Windsurf", "json"),
        ("opencode", "OpenCode", "json"),
    ] {
        let home = Home::new();
        out(&home, &["install", client]);
        let written = CONFIGURATIONS
            .iter()
            .find(|(name, ..)| *name == client)
            .map(|(_, file, _)| read(&home.path().join(file.replace(".jsonc", ".json"))))
            .unwrap();
        let written = path.replace_all(&written, "\"contree-mcp\"").into_owned();
        let shown = block(&page, heading, language);
        if language == "json" {
            let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(parse(shown), parse(&written), "{client}");
        } else {
            let lines = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
            assert_eq!(lines(shown).trim(), lines(&written).trim(), "{client}");
        }
    }
}
