//! The clients that `install` knows, with the files and the forms of their configurations.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::error::InstallError;
use crate::config::Environment;

/// The name of the entry in every configuration.
pub(super) const ENTRY: &str = "contree";

/// An MCP client.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Client {
    #[value(alias = "claude")]
    ClaudeCode,
    ClaudeDesktop,
    Codex,
    Cursor,
    #[value(name = "vscode", alias = "vs-code", alias = "code")]
    VsCode,
    #[value(name = "gemini-cli", alias = "gemini")]
    Gemini,
    Zed,
    Windsurf,
    #[value(name = "opencode", alias = "open-code")]
    OpenCode,
}

/// The form of a configuration, and the object in it that holds the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON. With `typed`, an entry says that it is a program.
    Json {
        servers: &'static [&'static str],
        typed: Option<(&'static str, &'static str)>,
    },
    /// JSON in which program and arguments are one array.
    JsonArray { servers: &'static [&'static str] },
    /// TOML with one table for each server.
    Toml { servers: &'static str },
}

/// The directories of this machine below which clients keep their files.
struct Folders {
    home: PathBuf,
    /// The directory of applications' settings.
    settings: PathBuf,
    /// `$XDG_CONFIG_HOME`, which some programs use on every system.
    xdg: PathBuf,
}

impl Folders {
    fn find(environment: &Environment) -> Result<Self, InstallError> {
        let home = environment.home().ok_or(InstallError::NoHome)?;
        let xdg = environment
            .absolute("XDG_CONFIG_HOME")
            .unwrap_or_else(|| home.join(".config"));
        let settings = if cfg!(target_os = "macos") {
            home.join("Library/Application Support")
        } else if cfg!(target_os = "windows") {
            environment
                .absolute("APPDATA")
                .unwrap_or_else(|| home.join("AppData/Roaming"))
        } else {
            xdg.clone()
        };
        Ok(Self {
            home,
            settings,
            xdg,
        })
    }
}

impl Client {
    /// All clients, in the order of lists.
    pub(super) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The name on the command line.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Codex => "codex",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::Gemini => "gemini-cli",
            Self::Zed => "zed",
            Self::Windsurf => "windsurf",
            Self::OpenCode => "opencode",
        }
    }

    /// The name for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::ClaudeDesktop => "Claude Desktop",
            Self::Codex => "Codex",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
            Self::Gemini => "Gemini CLI",
            Self::Zed => "Zed",
            Self::Windsurf => "Windsurf",
            Self::OpenCode => "OpenCode",
        }
    }

    /// The programs whose presence shows that the client is installed.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::ClaudeCode => &["claude"],
            Self::ClaudeDesktop => &["claude-desktop"],
            Self::Codex => &["codex"],
            Self::Cursor => &["cursor", "cursor-agent"],
            Self::VsCode => &["code", "code-insiders"],
            Self::Gemini => &["gemini"],
            Self::Zed => &["zed", "zeditor"],
            Self::Windsurf => &["windsurf"],
            Self::OpenCode => &["opencode"],
        }
    }

    /// The form of the configuration.
    pub(super) fn form(self) -> Form {
        const SERVERS: &[&str] = &["mcpServers"];
        let (servers, typed) = match self {
            Self::ClaudeCode => (SERVERS, Some(("type", "stdio"))),
            Self::ClaudeDesktop | Self::Cursor | Self::Gemini | Self::Windsurf => (SERVERS, None),
            Self::VsCode => (&["servers"][..], Some(("type", "stdio"))),
            Self::Zed => (&["context_servers"][..], Some(("source", "custom"))),
            Self::Codex => {
                return Form::Toml {
                    servers: "mcp_servers",
                };
            }
            Self::OpenCode => return Form::JsonArray { servers: &["mcp"] },
        };
        Form::Json { servers, typed }
    }

    /// The user's configuration.
    ///
    /// # Errors
    /// If there is no home directory.
    pub(super) fn user_file(self, environment: &Environment) -> Result<PathBuf, InstallError> {
        let Folders {
            home,
            settings,
            xdg,
        } = Folders::find(environment)?;
        Ok(match self {
            Self::ClaudeCode => environment
                .absolute("CLAUDE_CONFIG_DIR")
                .unwrap_or(home)
                .join(".claude.json"),
            Self::ClaudeDesktop => settings.join("Claude/claude_desktop_config.json"),
            Self::Codex => environment
                .absolute("CODEX_HOME")
                .unwrap_or_else(|| home.join(".codex"))
                .join("config.toml"),
            Self::Cursor => home.join(".cursor/mcp.json"),
            Self::VsCode => settings.join("Code/User/mcp.json"),
            Self::Gemini => home.join(".gemini/settings.json"),
            Self::Zed if cfg!(target_os = "windows") => settings.join("Zed/settings.json"),
            Self::Zed => xdg.join("zed/settings.json"),
            Self::Windsurf => home.join(".codeium/windsurf/mcp_config.json"),
            Self::OpenCode => with_comments(xdg.join("opencode/opencode.json")),
        })
    }

    /// The configuration of a project.
    ///
    /// # Errors
    /// If the client has none.
    pub(super) fn project_file(self, project: &Path) -> Result<PathBuf, InstallError> {
        let below = match self {
            Self::ClaudeCode => ".mcp.json",
            Self::Codex => ".codex/config.toml",
            Self::Cursor => ".cursor/mcp.json",
            Self::VsCode => ".vscode/mcp.json",
            Self::Gemini => ".gemini/settings.json",
            Self::Zed => ".zed/settings.json",
            Self::OpenCode => return Ok(with_comments(project.join("opencode.json"))),
            Self::ClaudeDesktop | Self::Windsurf => {
                return Err(InstallError::NoProject(self.title()));
            }
        };
        Ok(project.join(below))
    }

    /// The directory in which the client looks for skills.
    ///
    /// # Errors
    /// If the client has none, or there is no home directory.
    pub(super) fn skills(
        self,
        environment: &Environment,
        project: Option<&Path>,
    ) -> Result<PathBuf, InstallError> {
        let below_project = match self {
            Self::ClaudeCode => ".claude/skills",
            Self::Codex | Self::Zed => ".agents/skills",
            Self::Cursor => ".cursor/skills",
            Self::VsCode => ".github/skills",
            Self::Gemini => ".gemini/skills",
            Self::Windsurf => ".windsurf/skills",
            Self::OpenCode => ".opencode/skills",
            Self::ClaudeDesktop => return Err(InstallError::NoSkills(self.title())),
        };
        if let Some(project) = project {
            return Ok(project.join(below_project));
        }
        let Folders { home, xdg, .. } = Folders::find(environment)?;
        Ok(match self {
            Self::ClaudeCode => environment
                .absolute("CLAUDE_CONFIG_DIR")
                .unwrap_or_else(|| home.join(".claude"))
                .join("skills"),
            Self::VsCode => home.join(".copilot/skills"),
            Self::Windsurf => home.join(".codeium/windsurf/skills"),
            Self::OpenCode => xdg.join("opencode/skills"),
            _ => home.join(below_project),
        })
    }

    /// Whether the client is on this machine: its configuration or its program.
    pub(super) fn is_found(self, environment: &Environment) -> bool {
        let Ok(file) = self.user_file(environment) else {
            return false;
        };
        // Claude Code keeps its file in the home directory itself.
        let has_directory = match (self, environment.home()) {
            (Self::ClaudeCode, Some(home)) => home.join(".claude").is_dir(),
            _ => file.parent().is_some_and(Path::is_dir),
        };
        let on_path = || {
            let path = environment.get("PATH").unwrap_or_default();
            std::env::split_paths(path)
                .filter(|directory| directory.is_absolute())
                .any(|directory| {
                    self.programs()
                        .iter()
                        .any(|program| directory.join(program).is_file())
                })
        };
        file.exists() || has_directory || on_path()
    }
}

/// The variant of a file with comments, if that exists and the plain one does not.
fn with_comments(plain: PathBuf) -> PathBuf {
    let other = plain.with_extension("jsonc");
    if !plain.exists() && other.exists() {
        other
    } else {
        plain
    }
}

/// The entry in a configuration in JSON that starts a program without arguments.
pub(super) fn json_entry(form: Form, command: &str) -> Value {
    match form {
        Form::Json { typed, .. } => {
            let mut entry = serde_json::Map::new();
            if let Some((key, value)) = typed {
                entry.insert(key.to_owned(), value.into());
            }
            entry.insert("command".to_owned(), command.into());
            entry.insert("args".to_owned(), json!([]));
            Value::Object(entry)
        }
        Form::JsonArray { .. } => json!({"type": "local", "command": [command], "enabled": true}),
        Form::Toml { .. } => Value::Null,
    }
}
