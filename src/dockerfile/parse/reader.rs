//! Reads the nodes of the parser's tree.

use parse_dockerfile::{
    Command, Flag, Instruction as Node, RunInstruction, Source, UnescapedString,
};

use super::super::error::Problem;
use super::super::here_documents::Blanked;
use super::super::instruction::{Copy, CopySource, InstructionKind, Run, RunCommand};
use super::super::variables::{argument_names, pairs};

/// The start of an instruction, and its name.
pub(super) fn keyword(node: &Node<'_>) -> (usize, &'static str) {
    match node {
        Node::Add(it) => (it.add.span.start, "ADD"),
        Node::Arg(it) => (it.arg.span.start, "ARG"),
        Node::Cmd(it) => (it.cmd.span.start, "CMD"),
        Node::Copy(it) => (it.copy.span.start, "COPY"),
        Node::Entrypoint(it) => (it.entrypoint.span.start, "ENTRYPOINT"),
        Node::Env(it) => (it.env.span.start, "ENV"),
        Node::Expose(it) => (it.expose.span.start, "EXPOSE"),
        Node::From(it) => (it.from.span.start, "FROM"),
        Node::Healthcheck(it) => (it.healthcheck.span.start, "HEALTHCHECK"),
        Node::Label(it) => (it.label.span.start, "LABEL"),
        Node::Maintainer(it) => (it.maintainer.span.start, "MAINTAINER"),
        Node::Onbuild(it) => (it.onbuild.span.start, "ONBUILD"),
        Node::Run(it) => (it.run.span.start, "RUN"),
        Node::Shell(it) => (it.shell.span.start, "SHELL"),
        Node::Stopsignal(it) => (it.stopsignal.span.start, "STOPSIGNAL"),
        Node::User(it) => (it.user.span.start, "USER"),
        Node::Volume(it) => (it.volume.span.start, "VOLUME"),
        Node::Workdir(it) => (it.workdir.span.start, "WORKDIR"),
        _ => (0, "the instruction"),
    }
}

/// The value of an option.
pub(super) fn value<'a>(flag: &'a Flag<'_>) -> Option<&'a str> {
    flag.value.as_ref().map(|value| value.value.as_ref())
}

/// The error of an unknown option.
pub(super) fn unknown(keyword: &'static str, option: &str) -> Problem {
    Problem::Option {
        keyword,
        option: option.to_owned(),
    }
}

/// Turns the parser's nodes into instructions, with the text and the here-documents that were taken
/// out of it.
pub(super) struct Reader<'a> {
    pub(super) blanked: &'a Blanked,
    pub(super) escape: char,
}

impl Reader<'_> {
    fn text(&self) -> &str {
        // The parser's positions count from after the mark.
        let text = self.blanked.text.as_str();
        text.strip_prefix('\u{feff}').unwrap_or(text)
    }

    /// The line of a position, counted from 1.
    pub(super) fn line(&self, start: usize) -> usize {
        self.text()[..start].matches('\n').count() + 1
    }

    /// The first line of an instruction.
    pub(super) fn shown(&self, start: usize) -> String {
        let line = self.text()[start..].lines().next().unwrap_or_default();
        let line = line.trim_end();
        match line.strip_suffix(self.escape) {
            Some(part) => format!("{} …", part.trim_end()),
            None => line.to_owned(),
        }
    }

    /// The kind of an instruction, without its variables replaced.
    pub(super) fn kind(
        &self,
        node: &Node<'_>,
        keyword: &'static str,
        line: usize,
    ) -> Result<InstructionKind, Problem> {
        Ok(match node {
            Node::Run(run) => InstructionKind::Run(self.run(run, line)?),
            Node::Copy(it) => self.copy(keyword, &it.options, &it.src, &it.dest)?,
            Node::Add(it) => self.copy(keyword, &it.options, &it.src, &it.dest)?,
            Node::Env(it) => InstructionKind::Env(pairs(&it.arguments.value, self.escape)?),
            Node::Arg(it) => InstructionKind::Arg(argument_names(&it.arguments.value, self.escape)),
            Node::Workdir(it) => InstructionKind::Workdir(it.arguments.value.to_string()),
            Node::User(it) => InstructionKind::User(it.arguments.value.to_string()),
            Node::Shell(it) => InstructionKind::Shell(texts(&it.arguments)),
            _ => InstructionKind::Ignored(keyword),
        })
    }

    fn run(&self, run: &RunInstruction<'_>, line: usize) -> Result<Run, Problem> {
        let (mut has_network, mut has_cache) = (true, false);
        for flag in &run.options {
            match (flag.name.value.as_ref(), value(flag)) {
                ("network", Some("none")) => has_network = false,
                ("network", Some("default")) => {}
                ("mount", Some(mount)) if mount.split(',').any(|part| part == "type=cache") => {
                    has_cache = true;
                }
                ("mount", _) => {
                    return Err(Problem::Unsupported {
                        what: "RUN --mount of another type than `cache`".to_owned(),
                        instead: "use COPY, and remove the files in the same RUN that needs them",
                    });
                }
                (name @ ("network" | "security"), _) => {
                    return Err(Problem::Unsupported {
                        what: format!("RUN --{name} with this value"),
                        instead: "leave it out: a sandbox has its own network and no privileges",
                    });
                }
                (other, _) => return Err(unknown("RUN", other)),
            }
        }
        let command = match (&run.arguments, run.here_docs.first()) {
            (Command::Exec(words), _) => RunCommand::Exec(texts(&words.value)),
            (Command::Shell(command), None) => {
                let command = self.joined(command.value);
                match self.blanked.documents.get(&line) {
                    Some(documents) => RunCommand::Shell(format!("{command}\n{documents}")),
                    None => RunCommand::Shell(command),
                }
            }
            (Command::Shell(rest), Some(document)) => {
                let rest = self.joined(rest.value);
                match document.value.starts_with("#!") {
                    _ if !rest.is_empty() => {
                        return Err(Problem::Unsupported {
                            what: format!("`{rest}` after a here-document"),
                            instead: "write the command first, as in RUN cat <<EOF > /file",
                        });
                    }
                    true => RunCommand::Script(document.value.to_string()),
                    false => RunCommand::Shell(document.value.to_string()),
                }
            }
            _ => {
                return Err(Problem::Syntax(
                    "RUN has a form that is not known".to_owned(),
                ));
            }
        };
        Ok(Run {
            command,
            has_network,
            has_cache,
        })
    }

    /// A command without the line breaks and comments in it.
    fn joined(&self, text: &str) -> String {
        let mut joined = String::with_capacity(text.len());
        for (at, line) in text.lines().enumerate() {
            let is_dropped = line.trim().is_empty() || line.trim_start().starts_with('#');
            if at > 0 && is_dropped {
                continue;
            }
            match line.trim_end().strip_suffix(self.escape) {
                Some(part) => joined.push_str(part),
                None => joined.push_str(line),
            }
        }
        joined
    }

    fn copy(
        &self,
        keyword: &'static str,
        flags: &[Flag<'_>],
        sources: &[Source<'_>],
        destination: &UnescapedString<'_>,
    ) -> Result<InstructionKind, Problem> {
        let is_add = keyword == "ADD";
        let mut copy = Copy {
            is_add,
            from: None,
            owner: None,
            mode: None,
            sources: Vec::with_capacity(sources.len()),
            destination: destination.value.to_string(),
        };
        let needed = |flag: &Flag<'_>, option, example| {
            let missing = Problem::OptionValue {
                keyword,
                option,
                example,
            };
            value(flag).map(str::to_owned).ok_or(missing)
        };
        for flag in flags {
            match flag.name.value.as_ref() {
                "from" if !is_add => copy.from = Some(needed(flag, "from", "STAGE")?),
                "chown" => copy.owner = Some(needed(flag, "chown", "1000:1000")?),
                "chmod" => copy.mode = Some(needed(flag, "chmod", "0755")?),
                // A layer that depends on no other one is the same files.
                "link" => {}
                other => return Err(unknown(keyword, other)),
            }
        }
        for source in sources {
            copy.sources.push(match source {
                Source::Path(path) if is_add && is_remote(&path.value) => {
                    return Err(Problem::Unsupported {
                        what: format!("ADD of `{}`", path.value),
                        instead: "download it in a RUN, such as RUN curl -fLo FILE URL",
                    });
                }
                Source::Path(path) => CopySource::Path(path.value.to_string()),
                Source::HereDoc(document) => CopySource::Document {
                    name: self.end_of(document.span.end),
                    content: document.value.to_string(),
                    is_expanded: document.expand,
                },
                _ => return Err(Problem::Syntax(format!("{keyword} has an unknown source"))),
            });
        }
        Ok(InstructionKind::Copy(copy))
    }

    /// The line that ends a here-document: its name.
    fn end_of(&self, end: usize) -> String {
        let line = self.text()[end..].lines().next().unwrap_or_default();
        line.trim_start_matches('\t').to_owned()
    }
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"]
        .iter()
        .any(|start| source.starts_with(start))
}

fn texts(words: &[UnescapedString<'_>]) -> Vec<String> {
    words.iter().map(|word| word.value.to_string()).collect()
}
