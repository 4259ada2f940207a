//! What is asked: a line for each request, with what belongs to it indented below.

/// One line of the script with what belongs to it.
#[derive(Debug)]
pub(crate) enum Step {
    Ask(Ask),
    /// Waits for an event of a process of an operation.
    Until {
        operation: String,
        spid: String,
        event: String,
    },
}

/// A request, with its variables as they are written.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The lines of the script.
    pub(crate) written: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Names of variables, and where in the JSON answer their values are.
    pub(crate) kept: Vec<(String, String)>,
}

/// Reads a script. Lines that begin with `#` are comments.
pub(crate) fn read(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        let word = |n: usize| line.splitn(3, ' ').nth(n).unwrap_or_default().to_owned();
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix("  ") {
            let Some(Step::Ask(ask)) = steps.last_mut() else {
                panic!("`{line}` belongs to no request");
            };
            if let Some(header) = rest.strip_prefix("+ ") {
                let (name, value) = header.split_once(": ").expect("a header");
                ask.headers.push((name.to_owned(), value.to_owned()));
                ask.written.push('\n');
                ask.written.push_str(line);
            } else {
                let (name, pointer) = rest.split_once(" = ").expect("a variable");
                ask.kept.push((name.to_owned(), pointer.to_owned()));
            }
        } else if let Some(rest) = line.strip_prefix("UNTIL ") {
            let mut words = rest.split(' ').map(str::to_owned);
            let mut next = || words.next().expect("an operation, a process and an event");
            steps.push(Step::Until {
                operation: next(),
                spid: next(),
                event: next(),
            });
        } else {
            steps.push(Step::Ask(Ask {
                written: line.to_owned(),
                method: word(0),
                path: word(1),
                body: word(2),
                headers: Vec::new(),
                kept: Vec::new(),
            }));
        }
    }
    steps
}
