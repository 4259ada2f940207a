//! The commands in the fenced blocks of a page.

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// A command, and what the page says it prints.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) command: String,
    /// The printed lines. `None` if the page shows no output.
    pub(super) shown: Option<Vec<String>>,
}

/// A fenced block with commands.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) line: usize,
    /// True if the block shows commands after `$`, with their output.
    pub(super) is_console: bool,
    pub(super) steps: Vec<Step>,
}

impl Block {
    /// Whether the first command of the block begins with a text.
    pub(super) fn begins_with(&self, text: &str) -> bool {
        self.steps
            .first()
            .is_some_and(|step| step.command.starts_with(text))
    }
}

/// Returns the blocks of a page that show commands, in order. A `text` block directly after a block
/// of commands is the output of the last one.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    // The kind, the line and the text of the current block.
    let mut current: Option<(String, usize, String)> = None;
    let mut follows_commands = false;
    for (event, range) in Parser::new(page).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let kind = match kind {
                    CodeBlockKind::Fenced(kind) => kind.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                let line = page[..range.start].lines().count() + 1;
                current = Some((kind, line, String::new()));
            }
            Event::Text(part) if current.is_some() => {
                current.as_mut().unwrap().2.push_str(&part);
            }
            Event::End(TagEnd::CodeBlock) => {
                let (kind, line, text) = current.take().unwrap();
                let has_prompt = text.lines().any(|line| line.starts_with("$ "));
                let is_console = kind == "console" || has_prompt;
                if is_console || matches!(kind.as_str(), "sh" | "bash" | "shell") {
                    let steps = match is_console {
                        true => console(&text),
                        false => commands(&text),
                    };
                    assert!(!steps.is_empty(), "line {line}: a block without a command");
                    blocks.push(Block {
                        line,
                        is_console,
                        steps,
                    });
                    follows_commands = !is_console;
                    continue;
                }
                if kind == "text" && follows_commands {
                    let step = blocks.last_mut().unwrap().steps.last_mut().unwrap();
                    step.shown = Some(text.lines().map(str::to_owned).collect());
                }
                follows_commands = false;
            }
            _ => follows_commands = false,
        }
    }
    blocks
}

/// The steps of a block that shows commands after `$`.
fn console(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step {
                command: command.to_owned(),
                shown: Some(Vec::new()),
            });
        } else {
            let step = steps.last_mut().unwrap_or_else(|| panic!("{line}"));
            step.shown.as_mut().unwrap().push(line.to_owned());
        }
    }
    steps
}

/// The steps of a block that shows commands alone. A command ends with its line, unless a quote is
/// open or the line ends with a backslash.
fn commands(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut command = String::new();
    for line in text.lines() {
        if command.is_empty() && (line.trim().is_empty() || line.starts_with('#')) {
            continue;
        }
        if !command.is_empty() {
            command.push('\n');
        }
        command.push_str(line);
        if is_complete(&command) {
            steps.push(Step {
                command: std::mem::take(&mut command),
                shown: None,
            });
        }
    }
    assert!(command.is_empty(), "an open quote: {command}");
    steps
}

/// Whether no quote is open at the end of a command.
fn is_complete(command: &str) -> bool {
    let mut quote = None;
    let mut before = ' ';
    for c in command.chars() {
        match (quote, c) {
            // The rest of the line is a comment.
            (None, '#') if before.is_whitespace() => return true,
            (None, '\'' | '"') if before != '\\' => quote = Some(c),
            (Some(open), _) if open == c && before != '\\' => quote = None,
            _ => {}
        }
        before = c;
    }
    quote.is_none() && before != '\\'
}

/// Returns the code in the sentences and tables of a page, each with its line.
pub(super) fn inline_code(page: &str) -> Vec<(usize, String)> {
    let options = pulldown_cmark::Options::ENABLE_TABLES;
    Parser::new_ext(page, options)
        .into_offset_iter()
        .filter_map(|(event, range)| match event {
            Event::Code(code) => {
                let line = page[..range.start].lines().count();
                // A table needs a backslash before a bar.
                Some((line, code.replace('\n', " ").replace("\\|", "|")))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn commands_end_with_their_lines() {
    let page = "\
```sh
a 'b
c' # it's
# no command
d \\
  e
```

```text
printed
```

- A list:

  ```console
  $ f
  shown
  $ g
  ```

```text
$ h
```

```yaml
k: v
```
";
    let found: Vec<(bool, String, Option<Vec<String>>)> = blocks(page)
        .into_iter()
        .flat_map(|block| {
            let is_console = block.is_console;
            block
                .steps
                .into_iter()
                .map(move |step| (is_console, step.command, step.shown))
        })
        .collect();
    let lines = |lines: &[&str]| Some(lines.iter().map(|&line| line.to_owned()).collect());
    let expected = [
        (false, "a 'b\nc' # it's".to_owned(), None),
        (false, "d \\\n  e".to_owned(), lines(&["printed"])),
        (true, "f".to_owned(), lines(&["shown"])),
        (true, "g".to_owned(), lines(&[])),
        (true, "h".to_owned(), lines(&[])),
    ];
    assert_eq!(found, expected);
}
