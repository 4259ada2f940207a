//! The file of profiles, which all Contree clients read: changing it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use contree_error_codes::ErrorCode;

use super::error::VerbError;
use crate::config::{Profile, ProfileFiles};

/// The file below the directory of profiles that is changed.
const FILE: &str = "auth.ini";
/// The section with the name of the active profile.
const DEFAULT_SECTION: &str = "DEFAULT";

/// The text of the file of profiles. Other lines and comments stay as they are.
pub(super) struct ProfileFile {
    path: PathBuf,
    lines: Vec<String>,
}

impl ProfileFile {
    /// Reads the file. A missing one is empty.
    ///
    /// # Errors
    /// If a profile file cannot be read.
    pub(super) fn open(files: &ProfileFiles) -> Result<Self, VerbError> {
        if let Some(problem) = files.problems.first() {
            return Err(VerbError::WithCode(
                ErrorCode::ProfileFileInvalid,
                format!("{problem}; correct it first"),
            ));
        }
        if files.folder.as_os_str().is_empty() {
            return Err(VerbError::WithCode(
                ErrorCode::NoHomeDirectory,
                "there is no home directory for profiles; set HOME or CONTREE_HOME".to_owned(),
            ));
        }
        let path = files.folder.join(FILE);
        // The file may be a link into a directory of settings, which stays a link.
        let path = path.canonicalize().unwrap_or(path);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(VerbError::file(&path)(error)),
        };
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self { path, lines })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the values of a profile.
    pub(super) fn set_profile(&mut self, name: &str, profile: &Profile) {
        let section = section_of(name);
        for (key, value) in [
            ("url", &profile.url),
            ("token", &profile.token),
            ("type", &profile.auth_type),
            ("project", &profile.project),
        ] {
            self.set(&section, key, value.as_deref());
        }
    }

    /// Removes a profile. Returns false if the file has none of this name.
    pub(super) fn remove_profile(&mut self, name: &str) -> bool {
        match self.section(&section_of(name)) {
            Some((start, end)) => {
                self.lines.drain(start..end);
                true
            }
            None => false,
        }
    }

    /// Sets the active profile.
    pub(super) fn set_active(&mut self, name: Option<&str>) {
        if self.section(DEFAULT_SECTION).is_none() && name.is_some() {
            self.lines
                .splice(0..0, [format!("[{DEFAULT_SECTION}]"), String::new()]);
        }
        self.set(DEFAULT_SECTION, "profile", name);
    }

    /// Writes the file, which only its owner can read. It is replaced as a whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(&self) -> Result<(), VerbError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(VerbError::file(directory))?;
        let written = tempfile::NamedTempFile::new_in(directory).and_then(|mut file| {
            let mut text = self.lines.join("\n");
            text.push('\n');
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            Ok(file)
        });
        let written = written.map_err(VerbError::file(directory))?;
        let persisted = written.persist(&self.path);
        persisted.map_err(|error| VerbError::file(&self.path)(error.error))?;
        Ok(())
    }

    /// The lines of a section, with its header.
    fn section(&self, name: &str) -> Option<(usize, usize)> {
        let start = self
            .lines
            .iter()
            .position(|line| header(line) == Some(name))?;
        let length = self.lines[start + 1..]
            .iter()
            .position(|line| header(line).is_some());
        Some((
            start,
            length.map_or(self.lines.len(), |length| start + 1 + length),
        ))
    }

    /// Sets or removes a value of a section.
    fn set(&mut self, section: &str, key: &str, value: Option<&str>) {
        let found = self.section(section);
        let (start, end) = match (found, value) {
            (Some(found), _) => found,
            (None, None) => return,
            (None, Some(_)) => {
                if self
                    .lines
                    .last()
                    .is_some_and(|line| !line.trim().is_empty())
                {
                    self.lines.push(String::new());
                }
                self.lines.push(format!("[{section}]"));
                (self.lines.len() - 1, self.lines.len())
            }
        };
        let is_key = |line: &String| {
            let name = line.split(['=', ':']).next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case(key)
        };
        let at = self.lines[start + 1..end].iter().position(is_key);
        match (at.map(|at| start + 1 + at), value) {
            (Some(at), Some(value)) => self.lines[at] = format!("{key} = {value}"),
            (Some(at), None) => drop(self.lines.remove(at)),
            (None, Some(value)) => {
                let last = self.lines[start..end]
                    .iter()
                    .rposition(|line| !line.trim().is_empty());
                let at = start + last.unwrap_or_default() + 1;
                self.lines.insert(at, format!("{key} = {value}"));
            }
            (None, None) => {}
        }
    }
}

fn section_of(profile: &str) -> String {
    format!("profile:{profile}")
}

/// The name of a section's header.
fn header(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.split(']').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> ProfileFile {
        ProfileFile {
            path: PathBuf::new(),
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    fn profile() -> Profile {
        Profile {
            token: Some("t".to_owned()),
            url: Some("http://x".to_owned()),
            project: None,
            auth_type: Some("jwt".to_owned()),
        }
    }

    #[test]
    fn other_lines_stay() {
        let mut changed = file(
            "# mine\n[DEFAULT]\nprofile = a\n\n[profile:a]\ntype: iam\nTOKEN = old\nproject = p\nextra = 1\n\n[cli]\neditor = vi",
        );
        changed.set_profile("a", &profile());
        changed.set_profile("b", &profile());
        changed.set_active(Some("b"));
        let text = changed.lines.join("\n");
        assert_eq!(
            text,
            "# mine\n[DEFAULT]\nprofile = b\n\n[profile:a]\ntype = jwt\ntoken = t\nextra = 1\nurl = http://x\n\n[cli]\neditor = vi\n\n[profile:b]\nurl = http://x\ntoken = t\ntype = jwt"
        );
        assert!(changed.remove_profile("a") && !changed.remove_profile("a"));
        changed.set_active(None);
        assert_eq!(
            changed.lines.join("\n"),
            "# mine\n[DEFAULT]\n\n[cli]\neditor = vi\n\n[profile:b]\nurl = http://x\ntoken = t\ntype = jwt"
        );
    }

    #[test]
    fn an_empty_file_gets_its_sections() {
        let mut new = file("");
        new.set_profile("default", &profile());
        new.set_active(Some("default"));
        assert_eq!(
            new.lines.join("\n"),
            "[DEFAULT]\nprofile = default\n\n[profile:default]\nurl = http://x\ntoken = t\ntype = jwt"
        );
    }
}
