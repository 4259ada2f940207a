//! Reads the profile files.

use std::path::Path;

use ini::{Ini, ParseOption};

use super::Environment;
use super::files::ProfileFiles;

impl ProfileFiles {
    /// Reads the profile files. A missing file is not a problem.
    ///
    /// - `cli.ini` and `auth.ini` are in `$CONTREE_HOME`, else `$XDG_CONFIG_HOME/contree`, else
    ///   `~/.config/contree`.
    /// - The file of the first release is `$CONTREE_MCP_CONFIG`, else `~/.config/contree/mcp.ini`.
    ///
    /// A path may begin with `~/`.
    #[must_use]
    pub fn load(environment: &Environment) -> Self {
        let mut files = Self::default();
        let home = environment.home();
        let mut path_of = |variable| {
            environment.path(variable).unwrap_or_else(|error| {
                files.problems.push(error.to_string());
                None
            })
        };
        let (configured_folder, configured) =
            (path_of("CONTREE_HOME"), path_of("CONTREE_MCP_CONFIG"));
        let folder = configured_folder
            .or_else(|| Some(environment.absolute("XDG_CONFIG_HOME")?.join("contree")))
            .or_else(|| Some(home.as_ref()?.join(".config/contree")));
        if let Some(folder) = folder {
            for name in ["cli.ini", "auth.ini"] {
                let path = folder.join(name);
                if let Some(text) = files.read(&path) {
                    files.add(&path, &text);
                }
            }
            files.folder = folder;
        }
        let is_configured = configured.is_some();
        if let Some(path) = configured.or_else(|| Some(home?.join(".config/contree/mcp.ini"))) {
            match files.read(&path) {
                Some(text) => files.add_first_release(&path, &text),
                None if is_configured && !path.exists() => files.warnings.push(format!(
                    "CONTREE_MCP_CONFIG names {}, which does not exist",
                    path.display()
                )),
                None => {}
            }
            files.first_release_path = path;
        }
        files
    }

    /// Adds the sections of a profile file. Its values replace earlier ones.
    pub fn add(&mut self, path: &Path, text: &str) {
        let Some(ini) = self.parse(path, text) else {
            return;
        };
        for (section, properties) in &ini {
            match section {
                Some("DEFAULT") => {
                    if let Some(name) = value(properties, "profile") {
                        self.active = Some(name);
                    }
                }
                Some(section) => {
                    let Some(name) = section.strip_prefix("profile:") else {
                        continue;
                    };
                    let profile = self.profiles.entry(name.trim().to_owned()).or_default();
                    for (field, key) in [
                        (&mut profile.token, "token"),
                        (&mut profile.url, "url"),
                        (&mut profile.project, "project"),
                        (&mut profile.auth_type, "type"),
                    ] {
                        if let Some(value) = value(properties, key) {
                            *field = Some(value);
                        }
                    }
                }
                None => {}
            }
        }
    }

    /// Adds the first release's file.
    pub fn add_first_release(&mut self, path: &Path, text: &str) {
        let Some(ini) = self.parse(path, text) else {
            return;
        };
        if let Some(properties) = ini.section(Some("DEFAULT")) {
            self.first_release.token = value(properties, "token");
            self.first_release.url = value(properties, "url");
        }
    }

    fn parse(&mut self, path: &Path, text: &str) -> Option<Ini> {
        let option = ParseOption {
            enabled_quote: false,
            enabled_escape: false,
            ..ParseOption::default()
        };
        match Ini::load_from_str_opt(text, option) {
            Ok(ini) => Some(ini),
            Err(error) => {
                // The parser's own message may quote the line, which may hold a token.
                self.problems.push(format!(
                    "{} is not a valid INI file: look at line {} (expected `[section]` or `key = value`)",
                    path.display(),
                    error.line + 1
                ));
                None
            }
        }
    }

    fn read(&mut self, path: &Path) -> Option<String> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes);
                if text.is_err() {
                    self.problems
                        .push(format!("{} is not UTF-8 text", path.display()));
                }
                let text = text.ok()?;
                if text.lines().any(holds_token)
                    && let Some(warning) = permission_warning(path)
                {
                    self.warnings.push(warning);
                }
                Some(text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.problems
                    .push(format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }
}

fn value(properties: &ini::Properties, key: &str) -> Option<String> {
    let (_, value) = properties
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(key))?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn holds_token(line: &str) -> bool {
    line.split_once(['=', ':']).is_some_and(|(key, value)| {
        key.trim().eq_ignore_ascii_case("token") && !value.trim().is_empty()
    })
}

#[cfg(unix)]
fn permission_warning(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "{0} holds a token and other users may open it (mode {mode:04o}): run `chmod 600 {0}`",
            path.display()
        )
    })
}

#[cfg(not(unix))]
fn permission_warning(_path: &Path) -> Option<String> {
    None
}
