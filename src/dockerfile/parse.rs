//! From the parser's tree to the instructions that matter here.

use parse_dockerfile::{
    Command, Flag, Instruction as Node, RunInstruction, Source, UnescapedString,
};

use super::error::{DockerfileError, Problem};
use super::here_documents::{self, Blanked};
use super::instruction::{Copy, CopySource, Instruction, InstructionKind, Run, RunCommand};
use super::variables::{argument_names, pairs};

/// The escape character unless the file names another one.
const ESCAPE: char = '\\';

/// The instructions of a file.
pub(super) struct Parsed {
    pub(super) escape: char,
    /// The arguments before the first `FROM`.
    pub(super) global: Vec<Instruction>,
    pub(super) stages: Vec<ParsedStage>,
}

/// A stage as the file has it.
pub(super) struct ParsedStage {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) image: String,
    pub(super) name: Option<String>,
    pub(super) platform: Option<String>,
    pub(super) instructions: Vec<Instruction>,
}

/// Reads a file.
///
/// # Errors
/// The first mistake.
pub(super) fn parse(text: &str) -> Result<Parsed, DockerfileError> {
    let escape = escape_of(text)?;
    let blanked = here_documents::blank(text, escape)?;
    let tree = parse_dockerfile::parse(&blanked.text).map_err(|error| {
        // The parser's message ends with the place, which comes first here.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        Problem::Syntax(message.to_owned()).at(error.line())
    })?;
    let reader = Reader {
        blanked: &blanked,
        escape,
    };
    let mut parsed = Parsed {
        escape,
        global: Vec::new(),
        stages: Vec::new(),
    };
    for node in &tree.instructions {
        let (start, keyword) = keyword(node);
        let line = reader.line(start);
        if let Node::From(from) = node {
            let mut platform = None;
            for flag in &from.options {
                match flag.name.value.as_ref() {
                    "platform" => platform = value(flag).map(str::to_owned),
                    other => return Err(unknown(keyword, other).at(line)),
                }
            }
            parsed.stages.push(ParsedStage {
                line,
                text: reader.shown(start),
                image: from.image.value.to_string(),
                name: from.as_.as_ref().map(|(_, name)| name.value.to_lowercase()),
                platform,
                instructions: Vec::new(),
            });
            continue;
        }
        let instruction = Instruction {
            line,
            text: reader.shown(start),
            kind: reader
                .kind(node, keyword, line)
                .map_err(|problem| problem.at(line))?,
        };
        match parsed.stages.last_mut() {
            Some(stage) => stage.instructions.push(instruction),
            None => parsed.global.push(instruction),
        }
    }
    Ok(parsed)
}

/// The escape character of a file. The parser knows the directive, but says so only at the end.
fn escape_of(text: &str) -> Result<char, DockerfileError> {
    let directives: String = text
        .split_inclusive('\n')
        .take_while(|line| line.trim_start().starts_with('#'))
        .collect();
    let tree = parse_dockerfile::parse_iter(&directives);
    drop(tree.map_err(|error| Problem::Syntax(error.to_string()).at(error.line()))?);
    for line in directives.lines() {
        let Some((name, value)) = line.trim_start().trim_start_matches('#').split_once('=') else {
            break;
        };
        if name.trim().eq_ignore_ascii_case("escape") {
            return Ok(value.trim().chars().next().unwrap_or(ESCAPE));
        }
    }
    Ok(ESCAPE)
}

/// The start of an instruction, and its name.
fn keyword(node: &Node<'_>) -> (usize, &'static str) {
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

fn value<'a>(flag: &'a Flag<'_>) -> Option<&'a str> {
    flag.value.as_ref().map(|value| value.value.as_ref())
}

fn unknown(keyword: &'static str, option: &str) -> Problem {
    Problem::Option {
        keyword,
        option: option.to_owned(),
    }
}

/// The text and what was taken out of it.
struct Reader<'a> {
    blanked: &'a Blanked,
    escape: char,
}

impl Reader<'_> {
    fn text(&self) -> &str {
        // The parser's positions count from after the mark.
        self.blanked.text.trim_start_matches('\u{feff}')
    }

    fn line(&self, start: usize) -> usize {
        self.text()[..start].matches('\n').count() + 1
    }

    /// The first line of an instruction.
    fn shown(&self, start: usize) -> String {
        let line = self.text()[start..].lines().next().unwrap_or_default();
        let line = line.trim_end();
        match line.strip_suffix(self.escape) {
            Some(part) => format!("{} …", part.trim_end()),
            None => line.to_owned(),
        }
    }

    fn kind(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<InstructionKind> {
        let parsed = parse(&format!("FROM a\n{text}")).unwrap();
        let instructions = parsed.stages.into_iter().next().unwrap().instructions;
        instructions.into_iter().map(|one| one.kind).collect()
    }

    fn run(command: RunCommand) -> InstructionKind {
        InstructionKind::Run(Run {
            command,
            has_network: true,
            has_cache: false,
        })
    }

    fn shell(text: &str) -> InstructionKind {
        run(RunCommand::Shell(text.to_owned()))
    }

    #[test]
    fn commands_keep_their_text() {
        assert_eq!(
            kinds(
                "RUN a  'b  c' \\\n  # comment\n\n   && d\nRUN [\"x\", \"y z\"]\nrun [ -e /f ]\n"
            ),
            [
                shell("a  'b  c'    && d"),
                run(RunCommand::Exec(vec!["x".to_owned(), "y z".to_owned()])),
                shell("[ -e /f ]"),
            ]
        );
    }

    #[test]
    fn here_documents_are_scripts_input_and_files() {
        assert_eq!(
            kinds(
                "RUN <<EOF\necho 1\nEOF\nRUN <<EOF\n#!/bin/x\n1\nEOF\nRUN cat <<EOF > /f\nRUN x\nEOF\nCOPY <<-\"A\" b /d/\n\tone\nA\n"
            ),
            [
                shell("echo 1\n"),
                run(RunCommand::Script("#!/bin/x\n1\n".to_owned())),
                shell("cat <<EOF > /f\nRUN x\nEOF\n"),
                InstructionKind::Copy(Copy {
                    is_add: false,
                    from: None,
                    owner: None,
                    mode: None,
                    sources: vec![
                        CopySource::Document {
                            name: "A".to_owned(),
                            content: "one\n".to_owned(),
                            is_expanded: false,
                        },
                        CopySource::Path("b".to_owned()),
                    ],
                    destination: "/d/".to_owned(),
                }),
            ]
        );
    }

    #[test]
    fn mistakes_have_their_lines() {
        for (text, line, part) in [
            ("FROM a\n\nRUN --mount=type=secret,id=x y\n", 3, "--mount"),
            ("FROM a\nADD https://host/f /\n", 2, "RUN curl"),
            ("FROM a\nCOPY --exclude=x a b\n", 2, "--exclude"),
            ("FROM a\nNOPE x\n", 2, ""),
            ("RUN x\n", 1, "FROM"),
            ("FROM a\nENV A\n", 2, "NAME=VALUE"),
            ("FROM a\nCOPY a\n", 2, ""),
        ] {
            let error = parse(text).err().unwrap();
            let message = error.to_string();
            assert_eq!(error.line, line, "{message}");
            assert!(message.contains(part), "{message}");
        }
        assert!(parse("").is_err());
    }

    #[test]
    fn another_escape_character_is_known() {
        let parsed = parse("# escape=`\nFROM a\nRUN a `\n b\n").unwrap();
        assert_eq!(parsed.escape, '`');
        assert_eq!(parsed.stages[0].instructions[0].kind, shell("a  b"));
        assert_eq!(parsed.stages[0].instructions[0].text, "RUN a …");
    }
}
