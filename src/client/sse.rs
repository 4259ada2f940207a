//! Decoding of server-sent events (SSE).

use bytes::{Buf as _, Bytes, BytesMut};

/// Length in bytes of the longest accepted line: a chunk of output in base64, with room to spare.
const MAX_LINE: usize = 64 * 1024 * 1024;

/// One frame of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SseFrame {
    /// The value of `event:`.
    pub(super) event: String,
    /// The values of the `data:` lines, joined by line ends.
    pub(super) data: String,
}

/// Decodes a stream of bytes into complete frames. A frame cut off by the end of the stream is
/// dropped.
#[derive(Debug, Default)]
pub(super) struct SseDecoder {
    buffer: BytesMut,
    /// Number of leading bytes of the buffer that contain no line end.
    searched: usize,
    frame: SseFrame,
    has_data: bool,
}

/// The error for a line that is longer than [`MAX_LINE`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl SseDecoder {
    pub(super) fn push(&mut self, bytes: &Bytes) -> Result<(), LineTooLong> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > MAX_LINE && !self.buffer.contains(&b'\n') {
            return Err(LineTooLong);
        }
        Ok(())
    }

    /// The next complete frame, if there is one yet.
    pub(super) fn next(&mut self) -> Option<SseFrame> {
        while let Some(line) = self.line() {
            let line = String::from_utf8_lossy(&line);
            if line.is_empty() {
                let frame = std::mem::take(&mut self.frame);
                // Keep-alive comments look like frames without data.
                if std::mem::take(&mut self.has_data) {
                    return Some(frame);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.frame.event),
                "data" => {
                    if self.has_data {
                        self.frame.data.push('\n');
                    }
                    self.frame.data.push_str(value);
                    self.has_data = true;
                }
                // `id` is not needed, since the events contain their ids. A line that begins with a
                // colon is a comment.
                _ => {}
            }
        }
        None
    }

    /// The next complete line without its end, which is LF or CR LF.
    fn line(&mut self) -> Option<BytesMut> {
        let unsearched = &self.buffer[self.searched..];
        let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let mut line = self.buffer.split_to(self.searched + end);
        self.buffer.advance(1);
        self.searched = 0;
        if line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(chunks: &[&str]) -> Vec<(String, String)> {
        let mut decoder = SseDecoder::default();
        let mut out = Vec::new();
        for chunk in chunks {
            decoder
                .push(&Bytes::copy_from_slice(chunk.as_bytes()))
                .unwrap();
            while let Some(frame) = decoder.next() {
                out.push((frame.event, frame.data));
            }
        }
        out
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut() {
        let stream = ": hello\n\nid: 1\nevent: stdout\ndata: {\"ä\":\ndata: 1}\n\nevent: exit\r\ndata:x\r\n\r\ndata\n\n";
        let expected = vec![
            ("stdout".to_owned(), "{\"ä\":\n1}".to_owned()),
            ("exit".to_owned(), "x".to_owned()),
            (String::new(), String::new()),
        ];
        assert_eq!(frames(&[stream]), expected);
        for at in (0..stream.len()).filter(|at| stream.is_char_boundary(*at)) {
            assert_eq!(frames(&[&stream[..at], &stream[at..]]), expected);
        }
    }

    #[test]
    fn an_incomplete_frame_is_dropped() {
        assert_eq!(frames(&["event: exit\ndata: {\"id\":1}\n"]), vec![]);
        assert_eq!(frames(&[": keepalive\n\n"]), vec![]);
    }
}
