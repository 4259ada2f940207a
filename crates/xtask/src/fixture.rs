//! The small manifest in `tests/manifest/good`. Tests compile it unchanged and with mistakes.

use std::path::Path;

use contree_codegen::manifest::{Api, Inputs, Output, Problem, SourceFile, compile, files};

use crate::error::TaskError;

/// The directory of the small manifest.
pub const FIXTURE_DIRECTORY: &str = "tests/manifest/good";

/// The small manifest with its API document and templates.
#[derive(Clone)]
pub struct Fixture {
    manifest: SourceFile,
    api: SourceFile,
    templates: Vec<SourceFile>,
}

impl Fixture {
    /// Reads the fixture from the repository at `root`.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub fn read(root: &Path) -> Result<Self, TaskError> {
        let directory = root.join(FIXTURE_DIRECTORY);
        let read = |name| files::read(&directory, name).map_err(TaskError::Source);
        let templates = files::read_templates(&directory.join("templates"));
        Ok(Self {
            manifest: read("tools.yaml")?,
            api: read("api.yaml")?,
            templates: templates.map_err(TaskError::Source)?,
        })
    }

    /// Replaces `from` in the named file, where it must occur exactly once.
    ///
    /// # Errors
    /// Fails if there is no such file, or if `from` does not occur exactly once.
    pub fn edit(&mut self, file: &str, from: &str, to: &str) -> Result<(), TaskError> {
        let source = match file {
            "tools.yaml" => Some(&mut self.manifest),
            "api.yaml" => Some(&mut self.api),
            _ => {
                let mut templates = self.templates.iter_mut();
                templates.find(|template| template.name == file)
            }
        };
        let source = source.ok_or_else(|| TaskError::NoFile(file.to_owned()))?;
        if source.text.matches(from).count() != 1 {
            return Err(TaskError::Text {
                file: file.to_owned(),
                text: from.to_owned(),
            });
        }
        source.text = source.text.replace(from, to);
        Ok(())
    }

    /// Compiles the fixture.
    ///
    /// # Errors
    /// Returns the mistakes in it.
    pub fn compile(&self) -> Result<Output, Vec<Problem>> {
        let api = Api::load(&self.api)?;
        compile(&Inputs {
            manifest: &self.manifest,
            api: &api,
            templates: &self.templates,
            version: "1.2.3",
            scheme: "contree",
            handlers: "src/tools",
        })
    }
}
