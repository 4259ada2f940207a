//! The commands in `README.md` and in the pages of `docs/` print the shown lines.

use std::process::{Command, Stdio};

use super::Shell;
use crate::support::repository;

/// The console blocks of a page. A block is a list of a command and what it prints.
fn blocks(page: &str) -> Vec<Vec<(String, String)>> {
    let mut blocks = Vec::new();
    let mut current: Option<Vec<(String, String)>> = None;
    for line in page.lines() {
        if line == "```console" {
            current = Some(Vec::new());
        } else if line == "```" {
            blocks.extend(current.take());
        } else if let Some(steps) = &mut current {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push((command.to_owned(), String::new())),
                None => {
                    let (_, shown) = steps.last_mut().unwrap();
                    shown.push_str(line);
                    shown.push('\n');
                }
            }
        }
    }
    blocks
}

/// Whether a line is the shown one. `…` stands for any text.
fn matches(shown: &str, line: &str) -> bool {
    let pattern: Vec<String> = shown.split('…').map(regex::escape).collect();
    let pattern = format!("^{}$", pattern.join(".*"));
    regex::Regex::new(&pattern).unwrap().is_match(line)
}

/// The pages that show commands.
fn pages() -> Vec<String> {
    let mut paths = vec![repository().join("README.md")];
    for entry in std::fs::read_dir(repository().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "md") {
            paths.push(path);
        }
    }
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    paths.into_iter().map(read).collect()
}

/// Whether the test can run a block: its commands are verbs of `contree`, and commands that make
/// or show a file.
fn is_runnable(block: &[(String, String)]) -> bool {
    let is_verb = |command: &str| command.starts_with("contree ");
    let is_local = |command: &str| ["echo ", "cat "].iter().any(|one| command.starts_with(one));
    block.iter().any(|(command, _)| is_verb(command))
        && block
            .iter()
            .all(|(command, _)| is_verb(command) || is_local(command))
}

#[test]
fn shown_commands_print_what_is_shown() {
    let mut count = 0;
    for block in pages().iter().flat_map(|page| blocks(page)) {
        if !is_runnable(&block) {
            continue;
        }
        // Each block has its own session and directory.
        let shell = Shell::new();
        let program = crate::support::CONTREE;
        let bin = shell.0.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(program, bin.join("contree")).unwrap();
        let work = shell.0.path().join("work");
        std::fs::create_dir(&work).unwrap();
        for (command, shown) in block {
            let base = shell.0.contree();
            let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
            let mut sh = Command::new("sh");
            for (name, value) in base.get_envs() {
                sh.env(name, value.unwrap());
            }
            let output = sh
                .args(["-c", &format!("exec 2>&1; {command}")])
                .env("PATH", path)
                .env_remove("CONTREE_URL")
                .current_dir(&work)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let printed = super::stdout(&output);
            let (shown, printed): (Vec<&str>, Vec<&str>) =
                (shown.lines().collect(), printed.lines().collect());
            let is_same = shown.len() == printed.len()
                && shown
                    .iter()
                    .zip(&printed)
                    .all(|(shown, line)| matches(shown, line.trim_end()));
            assert!(
                is_same,
                "$ {command}\nshown:   {shown:#?}\nprinted: {printed:#?}"
            );
            count += 1;
        }
    }
    assert!(count >= 60, "only {count} commands are shown");
}
