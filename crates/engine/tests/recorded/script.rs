//! Parses the script: one line for each request, with indented lines for its headers and variables.

/// A step of the script.
#[derive(Debug)]
pub(crate) enum Step {
    /// Sends a request and records the answer.
    Send(ScriptRequest),
    /// Waits for an event of a process of an operation.
    Until {
        operation: String,
        spid: String,
        event: String,
    },
}

/// A request whose variables are not replaced yet.
#[derive(Debug)]
pub(crate) struct ScriptRequest {
    /// The lines of the script.
    pub(crate) source: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) headers: Vec<(String, String)>,
    /// The variables to set, with JSON pointers to their values in the answer.
    pub(crate) saved: Vec<(String, String)>,
}

/// Parses a script. Lines that begin with `#` are comments.
pub(crate) fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        let word = |n: usize| line.splitn(3, ' ').nth(n).unwrap_or_default().to_owned();
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix("  ") {
            let Some(Step::Send(request)) = steps.last_mut() else {
                panic!("`{line}` belongs to no request");
            };
            if let Some(header) = rest.strip_prefix("+ ") {
                let (name, value) = header.split_once(": ").expect("a header");
                request.headers.push((name.to_owned(), value.to_owned()));
                request.source.push('\n');
                request.source.push_str(line);
            } else {
                let (name, pointer) = rest.split_once(" = ").expect("a variable");
                request.saved.push((name.to_owned(), pointer.to_owned()));
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
            steps.push(Step::Send(ScriptRequest {
                source: line.to_owned(),
                method: word(0),
                path: word(1),
                body: word(2),
                headers: Vec::new(),
                saved: Vec::new(),
            }));
        }
    }
    steps
}
