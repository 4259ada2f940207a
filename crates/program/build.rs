//! Passes the version with the commit to the programs.

use std::path::Path;
use std::process::Command;

fn main() {
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rerun-if-env-changed=CONTREE_COMMIT");
    let commit = std::env::var("CONTREE_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let version = match commit.or_else(commit_of_repository) {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=CONTREE_VERSION={version}");
}

/// The commit of the repository that has these sources; none for sources of a package.
fn commit_of_repository() -> Option<String> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")?;
    let root = Path::new(&manifest).parent()?.parent()?;
    // A package that lies in another repository must not get the commit of that one.
    if !root.join(".git").exists() {
        println!("cargo::rerun-if-changed=build.rs");
        return None;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo::rerun-if-changed={}", root.join(path).display());
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"]).filter(|commit| !commit.is_empty())
}
