//! Turns the parser's tree into stages and instructions.

mod reader;

use parse_dockerfile::Instruction as Node;

use super::error::{DockerfileError, Problem};
use super::here_documents;
use super::instruction::Instruction;
use reader::{Reader, keyword, unknown, value};

/// The escape character unless the file names another one.
const ESCAPE: char = '\\';

/// The instructions of a file.
pub(super) struct Parsed {
    pub(super) escape: char,
    /// The arguments before the first `FROM`.
    pub(super) global: Vec<Instruction>,
    pub(super) stages: Vec<ParsedStage>,
}

/// A stage, before its variables are replaced.
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
        // The parser's message ends with the line, which comes first here.
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

#[cfg(test)]
mod tests {
    use super::super::instruction::{Copy, CopySource, InstructionKind, Run, RunCommand};
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
