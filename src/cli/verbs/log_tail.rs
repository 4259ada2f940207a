//! The last lines of a log.

use std::collections::VecDeque;

use crate::events::{Chunk, Event, Payload};

/// A value of `--tail` that is no number of lines.
#[derive(Clone, Debug, thiserror::Error)]
#[error("give a whole number of lines from 0, such as 100, or `all`")]
pub(super) struct TailError;

/// A number of lines, or `all`.
pub(super) fn lines(text: &str) -> Result<usize, TailError> {
    match text {
        "all" => Ok(usize::MAX),
        number => number.parse().map_err(|_| TailError),
    }
}

/// The events of the last lines of both streams. A line belongs to one stream, even if the other
/// stream has written within it.
#[derive(Debug)]
pub(super) struct LogTail {
    /// The number of lines to keep.
    lines: usize,
    /// The number of pushed events.
    pushed: u64,
    /// Standard output and standard error.
    streams: [StreamTail; 2],
}

/// The last events of one stream.
#[derive(Debug, Default)]
struct StreamTail {
    events: VecDeque<TailEvent>,
    /// The line ends in all events.
    line_ends: usize,
}

/// An event with its position in the log.
#[derive(Debug)]
struct TailEvent {
    position: u64,
    event: Event,
    line_ends: usize,
}

impl LogTail {
    pub(super) fn new(lines: usize) -> Self {
        Self {
            lines,
            pushed: 0,
            streams: Default::default(),
        }
    }

    /// Adds the next event of the log. Events that are not output are left out.
    pub(super) fn push(&mut self, event: Event) {
        let stream = match &event.payload {
            Payload::Stdout(_) => &mut self.streams[0],
            Payload::Stderr(_) => &mut self.streams[1],
            _ => return,
        };
        let line_ends = output(&event).iter().filter(|byte| **byte == b'\n').count();
        stream.line_ends += line_ends;
        stream.events.push_back(TailEvent {
            position: self.pushed,
            event,
            line_ends,
        });
        self.pushed += 1;
        // The last N lines begin after the line end before them.
        while let Some(first) = stream.events.front()
            && stream.line_ends - first.line_ends > self.lines
        {
            stream.line_ends -= first.line_ends;
            stream.events.pop_front();
        }
    }

    /// The events of the last lines, in the order of the log. The first ones are cut.
    pub(super) fn into_events(self) -> Vec<Event> {
        let streams = self.streams.into_iter().enumerate();
        let mut events: Vec<(usize, TailEvent)> = streams
            .flat_map(|(stream, tail)| tail.events.into_iter().map(move |event| (stream, event)))
            .collect();
        events.sort_by_key(|(_, event)| event.position);
        let mut found = 0;
        let mut is_in_line = [false; 2];
        let mut is_complete = [false; 2];
        let mut kept = Vec::new();
        for (stream, TailEvent { mut event, .. }) in events.into_iter().rev() {
            if is_complete[stream] {
                continue;
            }
            let bytes = output(&event);
            let mut start = bytes.len();
            while start > 0 {
                // Backwards, a line begins with its end, or with the end of the log.
                if bytes[start - 1] == b'\n' || !is_in_line[stream] {
                    if found == self.lines {
                        is_complete[stream] = true;
                        break;
                    }
                    found += 1;
                    is_in_line[stream] = true;
                }
                start -= 1;
            }
            if let Some(chunk) = chunk(&mut event)
                && start < chunk.bytes.len()
            {
                chunk.bytes = chunk.bytes.slice(start..);
                kept.push(event);
            }
        }
        kept.reverse();
        kept
    }
}

/// The bytes that a process wrote.
fn output(event: &Event) -> &[u8] {
    match &event.payload {
        Payload::Stdout(chunk) | Payload::Stderr(chunk) => &chunk.bytes,
        _ => &[],
    }
}

fn chunk(event: &mut Event) -> Option<&mut Chunk> {
    match &mut event.payload {
        Payload::Stdout(chunk) | Payload::Stderr(chunk) => Some(chunk),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last lines of a log. Each part is the text of an event; one with `!` is of standard
    /// error.
    fn tail(lines: usize, parts: &[&str]) -> String {
        let mut tail = LogTail::new(lines);
        for (id, part) in parts.iter().enumerate() {
            let (kind, text) = match part.strip_prefix('!') {
                Some(text) => ("stderr", text),
                None => ("stdout", *part),
            };
            let data = serde_json::json!({"value": text, "encoding": "ascii"});
            let event = serde_json::json!({"id": id, "spid": 1, "type": kind, "data": data});
            tail.push(Event::from_json(&event.to_string()).unwrap());
        }
        let events = tail.into_events();
        let texts = events.iter().map(output);
        String::from_utf8(texts.flatten().copied().collect()).unwrap()
    }

    #[test]
    fn the_last_lines_are_kept() {
        let parts = ["one\ntwo\nth", "ree\n", "four\nfive"];
        for (lines, expected) in [
            (0, ""),
            (1, "five"),
            (2, "four\nfive"),
            (3, "three\nfour\nfive"),
            (4, "two\nthree\nfour\nfive"),
            (9, "one\ntwo\nthree\nfour\nfive"),
            (usize::MAX, "one\ntwo\nthree\nfour\nfive"),
        ] {
            assert_eq!(tail(lines, &parts), expected, "{lines}");
        }
        assert_eq!(tail(1, &["a\nb\n"]), "b\n");
        assert_eq!(tail(2, &["a\n\n"]), "a\n\n");
        assert_eq!(tail(3, &[]), "");
    }

    #[test]
    fn a_line_is_whole_although_the_other_stream_wrote_within_it() {
        let parts = ["out ", "!err 1\n", "!err 2\n", "put\n"];
        assert_eq!(tail(1, &parts), "out put\n");
        assert_eq!(tail(2, &parts), "out err 2\nput\n");
        assert_eq!(tail(1, &["prompt> ", "!err\n"]), "err\n");
    }

    #[test]
    fn a_long_log_is_not_kept_whole() {
        let mut tail = LogTail::new(2);
        let event = r#"{"id":1,"type":"stdout","data":{"value":"x\n","encoding":"ascii"}}"#;
        for _ in 0..1000 {
            tail.push(Event::from_json(event).unwrap());
        }
        assert!(tail.streams[0].events.len() <= 3);
    }

    #[test]
    fn a_number_of_lines_is_read() {
        assert_eq!(lines("20").ok(), Some(20));
        assert_eq!(lines("all").ok(), Some(usize::MAX));
        for wrong in ["-1", "x", ""] {
            assert!(
                lines(wrong)
                    .unwrap_err()
                    .to_string()
                    .contains("such as 100")
            );
        }
    }
}
