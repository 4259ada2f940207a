//! `doctor --report`: a text for a bug report, without secrets and without the name of the user.

use std::fmt::Write as _;

use super::super::setup::Setup;
use super::{DoctorCheck, report_text};

/// The variables whose values may be shown.
const SHOWN_VARIABLES: [&str; 5] = [
    "CONTREE_BACKEND",
    "CONTREE_NETWORK",
    "CONTREE_READ_ONLY",
    "CONTREE_TOOLSET",
    "CONTREE_TOOLS",
];

/// The text of the report.
pub(super) fn report(setup: &Setup, checks: &[DoctorCheck], can_run: bool) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "system: {} {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    #[cfg(unix)]
    {
        let name = rustix::system::uname();
        let _ = writeln!(text, "kernel: {}", name.release().to_string_lossy());
        let user = if rustix::process::geteuid().is_root() {
            "root"
        } else {
            "ordinary"
        };
        let _ = writeln!(text, "user: {user}");
    }
    if let Ok(release) = std::fs::read_to_string("/etc/os-release")
        && let Some(name) = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="))
    {
        let _ = writeln!(text, "distribution: {}", name.trim_matches('"'));
    }
    let mut variables: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("CONTREE_") || name.starts_with("NEBIUS_"))
        .map(|name| match setup.environment.get(&name) {
            Some(value) if SHOWN_VARIABLES.contains(&name.as_str()) => format!("{name}={value}"),
            _ => format!("{name} (set)"),
        })
        .collect();
    variables.sort();
    let _ = writeln!(text, "variables: {}", variables.join(", "));
    text.push_str(&report_text(setup, checks, can_run));
    redact(&text, &secrets(setup))
}

/// The texts that must not be in a report, each with its replacement.
fn secrets(setup: &Setup) -> Vec<(String, String)> {
    let mut secrets = Vec::new();
    for (name, value) in std::env::vars_os() {
        let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) else {
            continue;
        };
        let upper = name.to_uppercase();
        let is_secret = ["TOKEN", "KEY", "SECRET", "PASS", "CREDENTIAL"]
            .iter()
            .any(|part| upper.contains(part));
        // A short value would also replace parts of ordinary words.
        if (is_secret || name == "CONTREE_PROJECT") && value.len() >= 6 {
            secrets.push((value, format!("<{name}>")));
        }
    }
    if let Some(token) = setup.options.flags().token {
        secrets.push((token, "<token>".to_owned()));
    }
    if let Some(project) = setup.options.flags().project {
        secrets.push((project, "<project>".to_owned()));
    }
    if let Some(home) = setup.environment.home() {
        let home = home.display().to_string();
        if home.len() > 1 {
            secrets.push((home, "~".to_owned()));
        }
    }
    for name in ["USER", "LOGNAME"] {
        if let Some(user) = setup
            .environment
            .get(name)
            .filter(|user| user.len() > 2 && *user != "root")
        {
            secrets.push((user.to_owned(), "<user>".to_owned()));
        }
    }
    // A longer text may contain a shorter one, so it is replaced first.
    secrets.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
    secrets
}

fn redact(text: &str, secrets: &[(String, String)]) -> String {
    let replaced = secrets
        .iter()
        .filter(|(secret, _)| !secret.is_empty())
        .fold(text.to_owned(), |text, (secret, name)| {
            text.replace(secret, name)
        });
    without_user_parts(&replaced)
}

/// The text without user names and passwords in URLs.
fn without_user_parts(text: &str) -> String {
    let mut rest = text;
    let mut found = String::new();
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        found.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || "/?#\"'`".contains(c))
            .unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(at) => {
                found.push_str("***");
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    found.push_str(rest);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_names_are_replaced() {
        let secrets = [
            ("/home/me".to_owned(), "~".to_owned()),
            ("t0ken-value".to_owned(), "<CONTREE_TOKEN>".to_owned()),
        ];
        let text = "data: /home/me/x, http://me:pw@proxy.example/, t0ken-value, https://a/b@c";
        assert_eq!(
            redact(text, &secrets),
            "data: ~/x, http://***@proxy.example/, <CONTREE_TOKEN>, https://a/b@c"
        );
    }
}
