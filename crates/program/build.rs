//! Passes the version with the commit to the programs, and packs their relocations where possible.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rerun-if-env-changed=CONTREE_COMMIT");
    let commit = env::var("CONTREE_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let version = match commit.or_else(commit_of_repository) {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=CONTREE_VERSION={version}");
    println!("cargo::rerun-if-env-changed={PORTABLE}");
    if env::var_os(PORTABLE).is_none() && libc_reads_packed_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Set for programs that shall run with an older C library than the one they are built with.
const PORTABLE: &str = "CONTREE_PORTABLE";
/// The first version of glibc that reads packed relocations (`DT_RELR`).
const FIRST_WITH_PACKED_RELOCATIONS: (u32, u32) = (2, 36);

/// Whether the programs run on a C library that reads packed relocations. They take 30 KB instead
/// of 2.5 MB, and a program reads all of them when it starts.
fn libc_reads_packed_relocations() -> bool {
    let of_target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let is_native = env::var_os("HOST") == env::var_os("TARGET");
    if !is_native || of_target("OS") != "linux" || of_target("ENV") != "gnu" {
        return false;
    }
    // It prints, for example, `glibc 2.36`.
    let Ok(output) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().rsplit(' ').next().and_then(|version| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    version.is_some_and(|version: (u32, u32)| version >= FIRST_WITH_PACKED_RELOCATIONS)
}

/// The commit of the repository that has these sources; none for sources of a package.
fn commit_of_repository() -> Option<String> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")?;
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
