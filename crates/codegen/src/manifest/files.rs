//! What the build script does around `compile`: reads the sources, writes what was generated.

use std::path::Path;
use std::{fs, io};

use super::{Api, Inputs, Output, Problem, Source, compile};

/// Generates `tools.rs` in `out_dir` from the sources under `root`. Mistakes become errors of cargo.
///
/// `version` is that of the package that is built.
///
/// # Errors
/// Fails if a source cannot be read or the result cannot be written.
pub fn generate(root: &Path, out_dir: &Path, version: &str) -> io::Result<()> {
    for path in ["tools.yaml", "templates", "openapi"] {
        println!("cargo::rerun-if-changed={path}");
    }
    match compile_files(root, version)? {
        Ok(output) => write_if_changed(&out_dir.join("tools.rs"), &output.rust),
        Err(problems) => {
            for problem in problems {
                println!("cargo::error={problem}");
            }
            Ok(())
        }
    }
}

/// Compiles the manifest under `root`.
///
/// # Errors
/// Fails if a source cannot be read. Mistakes in them are the inner error.
pub fn compile_files(root: &Path, version: &str) -> io::Result<Result<Output, Vec<Problem>>> {
    let manifest = read(root, "tools.yaml")?;
    let templates = read_templates(&root.join("templates"))?;
    Ok(
        Api::load(&read(root, "openapi/contree.yaml")?).and_then(|api| {
            compile(&Inputs {
                manifest: &manifest,
                api: &api,
                templates: &templates,
                version,
            })
        }),
    )
}

/// Reads one file under the name that messages show.
///
/// # Errors
/// Fails if the file cannot be read as UTF-8; the message names it.
pub fn read(root: &Path, name: &str) -> io::Result<Source> {
    let text = fs::read_to_string(root.join(name))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {name}: {error}")))?;
    Ok(Source {
        name: name.to_owned(),
        text,
    })
}

/// Reads every template, named by its path below `folder`. Files of editors are passed over.
///
/// # Errors
/// Fails if a template cannot be read.
pub fn read_templates(folder: &Path) -> io::Result<Vec<Source>> {
    let mut templates = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "j2")
                && let Ok(name) = path.strip_prefix(folder)
            {
                templates.push(read(folder, &name.to_string_lossy().replace('\\', "/"))?);
            }
        }
    }
    templates.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(templates)
}

fn write_if_changed(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        Ok(())
    } else {
        fs::write(path, text)
    }
}
