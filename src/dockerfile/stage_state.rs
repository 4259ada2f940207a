//! The state of a stage between its instructions, and the actions that they become.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::{DockerfileError, Problem};
use super::expand::{expand, expand_text};
use super::instruction::{Copy, CopySource, Instruction, InstructionKind, Run, RunCommand};
use super::variables::BuildArguments;

/// Runs the script in the first argument by its own interpreter.
const RUN_SCRIPT: &str = "\
f=$(mktemp) && printf %s \"$1\" > \"$f\" && chmod 700 \"$f\" || exit
\"$f\"; s=$?; rm -f \"$f\"; exit $s";

/// The state of a stage.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    /// The variables of the image.
    pub(crate) env: BTreeMap<String, String>,
    /// The directory of the image.
    pub(crate) cwd: String,
    arguments: BTreeMap<String, String>,
    user: Option<String>,
    shell: Vec<String>,
}

/// The action of an instruction. Two actions that are equal have the same result on the same image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Action {
    Run(RunAction),
    Copy(CopyAction),
    /// Variables to save in the image.
    Env(BTreeMap<String, String>),
    /// A directory to make and to save in the image, and the user to whom it belongs.
    Workdir {
        path: String,
        user: Option<String>,
    },
    /// The instruction changes only the state.
    None,
    /// The instruction of this name has no effect.
    Ignored(&'static str),
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RunAction {
    pub(crate) words: Vec<String>,
    /// All variables: those of the image, and the arguments.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    /// The user as the Dockerfile has it: `NAME[:GROUP]`, each a name or a number.
    pub(crate) user: Option<String>,
    pub(crate) has_network: bool,
    /// Whether a cache mount was asked for.
    #[serde(skip)]
    pub(crate) has_cache: bool,
}

/// Files to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CopyAction {
    pub(crate) is_add: bool,
    pub(crate) is_from_image: bool,
    pub(crate) owner: Option<String>,
    pub(crate) mode: Option<u32>,
    pub(crate) sources: Vec<CopySource>,
    /// The absolute path. It ends with a slash if it must be a directory.
    pub(crate) destination: String,
}

impl StageState {
    /// The state of a stage that begins with an image.
    pub(crate) fn new(env: BTreeMap<String, String>, cwd: String) -> Self {
        Self {
            env,
            cwd,
            arguments: BTreeMap::new(),
            user: None,
            shell: vec!["/bin/sh".to_owned(), "-c".to_owned()],
        }
    }

    /// The state of a stage that begins with another one. Arguments end with their stage.
    pub(crate) fn next_stage(&self) -> Self {
        Self {
            arguments: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Applies an instruction.
    ///
    /// # Errors
    /// A mistake in the instruction.
    pub(crate) fn apply(
        &mut self,
        instruction: &Instruction,
        arguments: &mut BuildArguments,
        escape: char,
    ) -> Result<Action, DockerfileError> {
        self.action(&instruction.kind, arguments, escape)
            .map_err(|problem| problem.at(instruction.line))
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let value = self.env.get(name).or_else(|| self.arguments.get(name));
        value.cloned()
    }

    fn action(
        &mut self,
        kind: &InstructionKind,
        arguments: &mut BuildArguments,
        escape: char,
    ) -> Result<Action, Problem> {
        let before = self.clone();
        let expanded = |text: &str| expand(text, escape, &|name| before.lookup(name));
        Ok(match kind {
            InstructionKind::Run(run) => Action::Run(self.run(run)),
            InstructionKind::Copy(copy) => Action::Copy(self.copy(copy, escape)?),
            InstructionKind::Env(pairs) => {
                let mut variables = BTreeMap::new();
                for (name, value) in pairs {
                    variables.insert(expanded(name)?, expanded(value)?);
                }
                self.env.extend(variables.clone());
                Action::Env(variables)
            }
            InstructionKind::Arg(names) => {
                for (name, default) in names {
                    let lookup = |name: &str| self.lookup(name);
                    let default = default
                        .as_ref()
                        .map(|text| expand(text, escape, &lookup))
                        .transpose()?;
                    if let Some(value) = arguments.of_stage(name, default) {
                        self.arguments.insert(name.clone(), value);
                    }
                }
                Action::None
            }
            InstructionKind::Workdir(path) => {
                self.cwd = join(&self.cwd, &expanded(path)?);
                Action::Workdir {
                    path: self.cwd.clone(),
                    user: self.user.clone(),
                }
            }
            InstructionKind::User(user) => {
                self.user = Some(expanded(user)?).filter(|user| !user.is_empty());
                Action::None
            }
            InstructionKind::Shell(words) => {
                if words.is_empty() {
                    return Err(Problem::Shell);
                }
                self.shell.clone_from(words);
                Action::None
            }
            InstructionKind::Ignored(name) => Action::Ignored(name),
        })
    }

    fn run(&self, run: &Run) -> RunAction {
        let words = match &run.command {
            RunCommand::Exec(words) => words.clone(),
            RunCommand::Shell(text) => {
                let text = std::iter::once(text.clone());
                self.shell.iter().cloned().chain(text).collect()
            }
            RunCommand::Script(text) => ["/bin/sh", "-c", RUN_SCRIPT, "sh", text]
                .map(str::to_owned)
                .to_vec(),
        };
        let mut env = self.arguments.clone();
        env.extend(self.env.clone());
        RunAction {
            words,
            env,
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            has_network: run.has_network,
            has_cache: run.has_cache,
        }
    }

    fn copy(&self, copy: &Copy, escape: char) -> Result<CopyAction, Problem> {
        let lookup = |name: &str| self.lookup(name);
        let expanded = |text: &str| expand(text, escape, &lookup);
        let mut sources = Vec::with_capacity(copy.sources.len());
        for source in &copy.sources {
            sources.push(match source {
                // The escape character of a pattern stays.
                CopySource::Path(path) => CopySource::Path(match path.contains(['$', '"', '\'']) {
                    true => expanded(path)?,
                    false => path.clone(),
                }),
                CopySource::Document {
                    name,
                    content,
                    is_expanded: true,
                } => CopySource::Document {
                    name: name.clone(),
                    content: expand_text(content, escape, &lookup)?,
                    is_expanded: true,
                },
                document => document.clone(),
            });
        }
        let written = expanded(&copy.destination)?;
        let is_directory = ["/", "/.", "/.."].iter().any(|end| written.ends_with(end))
            || matches!(written.as_str(), "." | ".." | "");
        let mut destination = join(&self.cwd, &written);
        if is_directory && destination != "/" {
            destination.push('/');
        }
        if sources.len() > 1 && !destination.ends_with('/') {
            return Err(Problem::NeedsDirectory(written));
        }
        let mode = match copy.mode.as_deref().map(&expanded).transpose()? {
            None => None,
            Some(text) => match u32::from_str_radix(&text, 8) {
                Ok(mode) if mode <= 0o7777 => Some(mode),
                _ => {
                    return Err(Problem::Unsupported {
                        what: format!("--chmod={text}"),
                        instead: "give the mode as an octal number, as in --chmod=0755",
                    });
                }
            },
        };
        Ok(CopyAction {
            is_add: copy.is_add,
            is_from_image: copy.from.is_some(),
            owner: copy.owner.as_deref().map(expanded).transpose()?,
            mode,
            sources,
            destination,
        })
    }
}

/// Joins a path to a directory. The result is absolute, without `.` and `..`.
pub(crate) fn join(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let directory = if path.starts_with('/') { "" } else { directory };
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::Dockerfile;
    use super::*;

    fn actions(text: &str, given: &[(&str, &str)]) -> Result<Vec<Action>, String> {
        let given = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut arguments = BuildArguments::new(given, "amd64");
        let file = Dockerfile::parse(text).map_err(|error| error.to_string())?;
        let plan = file.plan(None, &mut arguments).unwrap();
        let env = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
        let mut state = StageState::new(env, "/".to_owned());
        let stage = plan.stages.last().unwrap();
        let actions = stage
            .instructions
            .iter()
            .map(|one| state.apply(one, &mut arguments, plan.escape));
        actions
            .filter(|action| !matches!(action, Ok(Action::None)))
            .map(|action| action.map_err(|error| error.to_string()))
            .collect()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn variables_and_directories_reach_commands() {
        let text = "ARG V=1\nFROM a\nARG V\nARG W=w$V\nENV PATH=/x:$PATH W=$W\nWORKDIR /a\nWORKDIR b/../c\nUSER u:$V\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN x\nCMD y\n";
        let found = actions(text, &[("V", "2")]).unwrap();
        let env = map(&[("PATH", "/x:/bin"), ("W", "w2"), ("V", "2")]);
        let words = ["/bin/bash", "-ec", "x"].map(str::to_owned).to_vec();
        assert_eq!(
            found,
            [
                Action::Env(map(&[("PATH", "/x:/bin"), ("W", "w2")])),
                Action::Workdir {
                    path: "/a".to_owned(),
                    user: None
                },
                Action::Workdir {
                    path: "/a/c".to_owned(),
                    user: None
                },
                Action::Run(RunAction {
                    words,
                    env,
                    cwd: "/a/c".to_owned(),
                    user: Some("u:2".to_owned()),
                    has_network: true,
                    has_cache: false,
                }),
                Action::Ignored("CMD"),
            ]
        );
    }

    #[test]
    fn destinations_are_absolute_and_say_whether_they_are_directories() {
        let destination = |written: &str| {
            let text = format!("FROM a\nWORKDIR /w\nCOPY x {written}\n");
            match actions(&text, &[]).unwrap().pop() {
                Some(Action::Copy(copy)) => copy.destination,
                other => panic!("{other:?}"),
            }
        };
        for (written, expected) in [
            ("y", "/w/y"),
            ("y/", "/w/y/"),
            (".", "/w/"),
            ("./", "/w/"),
            ("/", "/"),
            ("/a/../b", "/b"),
            ("..", "/"),
            ("$PATH/f", "/bin/f"),
        ] {
            assert_eq!(destination(written), expected, "{written}");
        }
        assert!(
            actions("FROM a\nCOPY a b c\n", &[])
                .unwrap_err()
                .contains("`c/`")
        );
        assert!(
            actions("FROM a\nCOPY --chmod=u+x a b\n", &[])
                .unwrap_err()
                .contains("octal")
        );
    }

    #[test]
    fn here_documents_of_copy_are_expanded_unless_quoted() {
        let text = "FROM a\nCOPY <<A <<\"B\" /d/\n$PATH\nA\n$PATH\nB\n";
        let Some(Action::Copy(copy)) = actions(text, &[]).unwrap().pop() else {
            panic!("no copy");
        };
        let contents: Vec<_> = copy
            .sources
            .iter()
            .map(|source| match source {
                CopySource::Document { content, .. } => content.as_str(),
                CopySource::Path(path) => path,
            })
            .collect();
        assert_eq!(contents, ["/bin\n", "$PATH\n"]);
    }
}
