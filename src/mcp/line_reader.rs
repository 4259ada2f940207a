//! Reads lines of bounded length, and finds the id and method of an overlong message.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Length of the longest accepted message, in bytes. rmcp has the same bound for its other
/// transports.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A line of input, or its end.
#[derive(Debug, PartialEq)]
pub(super) enum InputLine {
    /// A line, without its line feed.
    Whole(Vec<u8>),
    /// A line longer than the bound, which was dropped. Holds the id if it was a request.
    TooLong(Option<serde_json::Value>),
    /// The end of the input.
    End,
}

/// Reads lines and never holds more than the bound.
pub(super) struct LineReader<R> {
    read: BufReader<R>,
    line: Vec<u8>,
    bound: usize,
    /// Set while the rest of an overlong line is dropped.
    dropping: Option<EnvelopeFinder>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(read: R, bound: usize) -> Self {
        Self {
            read: BufReader::new(read),
            line: Vec::new(),
            bound,
            dropping: None,
        }
    }

    /// Reads the next line. Cancel-safe: a partly read line stays in `self`.
    pub(super) async fn next(&mut self) -> std::io::Result<InputLine> {
        loop {
            let available = self.read.fill_buf().await?;
            if available.is_empty() {
                // A last line without a line feed counts as a message too.
                if let Some(finder) = self.dropping.take() {
                    return Ok(InputLine::TooLong(finder.request_id()));
                }
                return Ok(if self.line.is_empty() {
                    InputLine::End
                } else {
                    InputLine::Whole(std::mem::take(&mut self.line))
                });
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            if let Some(finder) = &mut self.dropping {
                finder.feed(part);
            } else if self.line.len() + part.len() > self.bound {
                let mut finder = EnvelopeFinder::default();
                finder.feed(&self.line);
                finder.feed(part);
                self.line = Vec::new();
                self.dropping = Some(finder);
            } else {
                self.line.extend_from_slice(part);
            }
            let consumed = part.len() + usize::from(end.is_some());
            self.read.consume(consumed);
            if end.is_some() {
                return Ok(match self.dropping.take() {
                    Some(finder) => InputLine::TooLong(finder.request_id()),
                    None => InputLine::Whole(std::mem::take(&mut self.line)),
                });
            }
        }
    }
}

/// Finds the id of the request in `text`, even if the text is malformed.
pub(super) fn request_id(text: &[u8]) -> Option<serde_json::Value> {
    let mut finder = EnvelopeFinder::default();
    finder.feed(text);
    finder.request_id()
}

/// Reports whether `text` calls `method`, even if the text is malformed.
pub(super) fn calls_method(text: &[u8], method: &str) -> bool {
    let mut finder = EnvelopeFinder::default();
    finder.feed(text);
    finder.method().is_some_and(|found| found == method)
}

/// Finds `id` and `method` at the top level of a JSON object in constant memory. A request too long
/// to be read can thus still be answered.
#[derive(Default)]
struct EnvelopeFinder {
    depth: u32,
    in_string: bool,
    escaped: bool,
    in_value: bool,
    key: Vec<u8>,
    value: Vec<u8>,
    id: Option<Vec<u8>>,
    method: Option<Vec<u8>>,
}

impl EnvelopeFinder {
    /// Maximum number of bytes that are recorded of a key or value.
    const MAX_PART_BYTES: usize = 256;

    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.record(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.record(byte);
                self.in_string = true;
            }
            b'{' | b'[' => {
                self.record(byte);
                self.depth += 1;
            }
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end_member();
                }
                self.depth = self.depth.saturating_sub(1);
                self.record(byte);
            }
            b':' if self.depth == 1 && !self.in_value => self.in_value = true,
            b',' if self.depth == 1 => self.end_member(),
            _ => self.record(byte),
        }
    }

    fn record(&mut self, byte: u8) {
        if self.depth == 1 {
            let part = if self.in_value {
                &mut self.value
            } else {
                &mut self.key
            };
            if part.len() < Self::MAX_PART_BYTES {
                part.push(byte);
            }
        }
    }

    fn end_member(&mut self) {
        match self.key.trim_ascii() {
            b"\"id\"" => self.id = Some(std::mem::take(&mut self.value)),
            b"\"method\"" => self.method = Some(std::mem::take(&mut self.value)),
            _ => {}
        }
        self.key.clear();
        self.value.clear();
        self.in_value = false;
    }

    fn request_id(self) -> Option<serde_json::Value> {
        let id: serde_json::Value = serde_json::from_slice(&self.id?).ok()?;
        (self.method.is_some() && (id.is_string() || id.is_i64())).then_some(id)
    }

    fn method(self) -> Option<String> {
        serde_json::from_slice(&self.method?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    async fn all(input: &[u8], bound: usize) -> Vec<InputLine> {
        let mut lines = LineReader::new(input, bound);
        let mut found = Vec::new();
        loop {
            match lines.next().await.unwrap() {
                InputLine::End => return found,
                line => found.push(line),
            }
        }
    }

    #[tokio::test]
    async fn every_line_is_returned_whole_including_the_last() {
        assert_eq!(
            all(b"one\n\ntwo", 10).await,
            [
                InputLine::Whole(b"one".into()),
                InputLine::Whole(Vec::new()),
                InputLine::Whole(b"two".into())
            ]
        );
    }

    #[tokio::test]
    async fn the_line_after_an_overlong_one_is_read() {
        let id = Some(json!(7));
        let long = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"id":"no","x":"aaaaaaaaaaaaaaaaaaaaaaa"}}"#;
        let input = [&long[..], b"\nnext\n", &long[..]].concat();
        assert_eq!(
            all(&input, 40).await,
            [
                InputLine::TooLong(id.clone()),
                InputLine::Whole(b"next".into()),
                InputLine::TooLong(id)
            ]
        );
    }

    #[test]
    fn only_the_method_at_the_top_level_counts() {
        let call = br#"{"id":1,"params":{"method":"other"},"method": "initialize" }"#;
        assert!(calls_method(call, "initialize"));
        assert!(!calls_method(call, "other"));
        assert!(!calls_method(
            br#"{"result":{"method":"initialize"}}"#,
            "initialize"
        ));
    }

    #[test]
    fn the_id_is_found_at_any_position() {
        let find = |text: &str| {
            let mut finder = EnvelopeFinder::default();
            // Byte by byte, since reads from a pipe may end anywhere.
            text.bytes().for_each(|byte| finder.feed(&[byte]));
            finder.request_id()
        };
        assert_eq!(
            find(r#"{"method":"m","params":{"a":[1,{"id":3}]},"id":"x\"y,}"}"#),
            Some(json!("x\"y,}"))
        );
        assert_eq!(
            find(r#"{ "id" : 12 , "params" : { "text" : "\"id\":9" } , "method" : "m" }"#),
            Some(json!(12))
        );
        assert_eq!(find(r#"{"id":{"a":1},"method":"m"}"#), None);
        assert_eq!(
            find(r#"{"id":1,"result":{}}"#),
            None,
            "a response is not answered"
        );
        assert_eq!(find(r#"{"method":"m","params":{"id":1}}"#), None);
        assert_eq!(find("no json at all"), None);
    }
}
