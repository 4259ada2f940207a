//! The manifest compiler: small manifests with their expected results, and the one that is shipped.
//!
//! `BLESS=1 cargo test --test manifest` rewrites whatever these tests compare with.

#![allow(clippy::unwrap_used, reason = "a test")]

mod compiled;
mod golden;
mod mistakes;
mod shipped;
mod yaml_only;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use contree_codegen::manifest as compiler;

use compiler::{Api, Inputs, Output, Problem, Source, compile, files};

/// The repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A small manifest, its API document and its templates, to be edited.
#[derive(Clone)]
struct Fixture {
    manifest: Source,
    api: Source,
    templates: Vec<Source>,
}

impl Fixture {
    fn good() -> Self {
        let folder = root().join("tests/manifest/good");
        Self {
            manifest: files::read(&folder, "tools.yaml").unwrap(),
            api: files::read(&folder, "api.yaml").unwrap(),
            templates: files::read_templates(&folder.join("templates")).unwrap(),
        }
    }

    /// Replaces `from`, which must stand there once, in the named file.
    fn edit(&mut self, file: &str, from: &str, to: &str) {
        let source = match file {
            "tools.yaml" => &mut self.manifest,
            "api.yaml" => &mut self.api,
            _ => self
                .templates
                .iter_mut()
                .find(|template| template.name == file)
                .unwrap(),
        };
        assert_eq!(
            source.text.matches(from).count(),
            1,
            "{file} should have once: {from}"
        );
        source.text = source.text.replace(from, to);
    }

    fn compile(&self) -> Result<Output, Vec<Problem>> {
        static GOOD: LazyLock<(Source, Api)> = LazyLock::new(|| {
            let source = Fixture::good().api;
            let api = Api::load(&source).unwrap();
            (source, api)
        });
        let edited;
        let api = if self.api.text == GOOD.0.text {
            &GOOD.1
        } else {
            edited = Api::load(&self.api)?;
            &edited
        };
        compile(&Inputs {
            manifest: &self.manifest,
            api,
            templates: &self.templates,
            version: "1.2.3",
        })
    }
}

/// Compares `text` with a file of the repository, or writes it there if `BLESS` is set.
fn compare(path: impl Into<PathBuf>, text: &str) {
    let path = path.into();
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // At once, since another test may be reading it.
        let mut whole = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
        whole.write_all(text.as_bytes()).unwrap();
        let readable = fs::Permissions::from_mode(0o644);
        whole.as_file().set_permissions(readable).unwrap();
        whole.persist(&path).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{} is not what the manifest makes of it now.\nRefresh it with: BLESS=1 cargo test --test manifest\n{}",
        path.display(),
        first_difference(&found, text)
    );
}

fn first_difference(found: &str, expected: &str) -> String {
    let pairs = found.lines().map(Some).chain(std::iter::repeat(None));
    let lines = expected.lines().map(Some).chain([None]);
    let difference = pairs
        .zip(lines)
        .enumerate()
        .find(|(_, (found, expected))| found != expected);
    difference.map_or_else(String::new, |(index, (found, expected))| {
        let shown = |line: Option<&str>| line.unwrap_or("(end)").to_owned();
        format!(
            "line {}:\n  there: {}\n  now:   {}",
            index + 1,
            shown(found),
            shown(expected)
        )
    })
}
