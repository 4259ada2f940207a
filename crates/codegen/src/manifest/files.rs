//! Reads the sources for `compile` and writes the generated code.

use std::path::Path;
use std::{fs, io};

use super::{Api, Inputs, Output, Problem, SourceFile, compile};

/// A project: the paths of its sources, and names for its generated code.
#[derive(Clone, Copy, Debug)]
pub struct Project<'a> {
    /// The directory that the other paths are relative to.
    pub root: &'a Path,
    /// The manifest.
    pub manifest: &'a str,
    /// The directory of the templates.
    pub templates: &'a str,
    /// The API document.
    pub api: &'a str,
    /// The extensions of the API, if there are any.
    pub extensions: Option<&'a str>,
    /// The directory of the handlers, for messages.
    pub handlers: &'a str,
    /// The scheme of the URIs of guides and resources.
    pub scheme: &'a str,
    /// The version of the package that is built.
    pub version: &'a str,
}

/// Generates `tools.rs` in `out_dir`, and reports mistakes as errors of cargo.
///
/// # Errors
/// Fails if a source cannot be read or the result cannot be written.
pub fn generate(project: &Project<'_>, out_dir: &Path) -> io::Result<()> {
    let sources = [project.manifest, project.templates, project.api];
    for path in sources.into_iter().chain(project.extensions) {
        println!("cargo::rerun-if-changed={path}");
    }
    match compile_files(project)? {
        Ok(output) => write_if_changed(&out_dir.join("tools.rs"), &output.rust),
        Err(problems) => {
            for problem in problems {
                println!("cargo::error={problem}");
            }
            Ok(())
        }
    }
}

/// Compiles the manifest of a project.
///
/// # Errors
/// The outer error is that of a source that cannot be read. The inner error lists the mistakes in
/// the sources.
pub fn compile_files(project: &Project<'_>) -> io::Result<Result<Output, Vec<Problem>>> {
    let manifest = read(project.root, project.manifest)?;
    let templates = read_templates(&project.root.join(project.templates))?;
    let api = read(project.root, project.api)?;
    let extensions = project.extensions.map(|name| read(project.root, name));
    let extensions = extensions.transpose()?;
    Ok(Api::load_all(&api, extensions.as_ref()).and_then(|api| {
        compile(&Inputs {
            manifest: &manifest,
            api: &api,
            templates: &templates,
            version: project.version,
            scheme: project.scheme,
            handlers: project.handlers,
        })
    }))
}

/// Reads one file under the name that messages show.
///
/// # Errors
/// Fails if the file cannot be read as UTF-8. The message names it.
pub fn read(root: &Path, name: &str) -> io::Result<SourceFile> {
    let text = fs::read_to_string(root.join(name))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot read {name}: {error}")))?;
    Ok(SourceFile {
        name: name.to_owned(),
        text,
    })
}

/// Reads every template (`*.j2`), named by its path below `directory`. Other files are ignored.
///
/// # Errors
/// Fails if a template cannot be read.
pub fn read_templates(directory: &Path) -> io::Result<Vec<SourceFile>> {
    let mut templates = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(current) = directories.pop() {
        for entry in fs::read_dir(&current)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "j2")
                && let Ok(name) = path.strip_prefix(directory)
            {
                templates.push(read(directory, &name.to_string_lossy().replace('\\', "/"))?);
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
