//! Decoding of server-sent events (SSE).

use bytes::{Buf as _, Bytes, BytesMut};

/// Length in bytes of the longest accepted frame: all of a stream in base64, which is 13.4 MiB.
pub(super) const MAX_FRAME: usize = 16 * 1024 * 1024;

/// The byte order mark, which may come before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
///
/// After each [`push`](Self::push), call [`next`](Self::next) until it returns none.
#[derive(Debug)]
pub(super) struct SseDecoder {
    /// Length in bytes of the longest accepted frame.
    limit: usize,
    buffer: BytesMut,
    /// Number of leading bytes of the buffer that contain no line end.
    searched: usize,
    /// Whether the last line ended with CR. An LF that follows belongs to it.
    after_cr: bool,
    /// Whether a line was read.
    begun: bool,
    frame: SseFrame,
    has_data: bool,
}

/// The error for a frame that is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FrameTooLong;

impl Default for SseDecoder {
    fn default() -> Self {
        Self::with_limit(MAX_FRAME)
    }
}

impl SseDecoder {
    fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            buffer: BytesMut::new(),
            searched: 0,
            after_cr: false,
            begun: false,
            frame: SseFrame::default(),
            has_data: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &Bytes) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a frame has begun and is not complete.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.buffer.is_empty() || self.has_data || !self.frame.event.is_empty()
    }

    /// The next complete frame, if there is one yet.
    pub(super) fn next(&mut self) -> Result<Option<SseFrame>, FrameTooLong> {
        while let Some(line) = self.line() {
            let line = String::from_utf8_lossy(&line);
            if line.is_empty() {
                let frame = std::mem::take(&mut self.frame);
                // Keep-alive comments look like frames without data.
                if std::mem::take(&mut self.has_data) {
                    return Ok(Some(frame));
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
            self.check_length(0)?;
        }
        self.check_length(self.buffer.len())?;
        Ok(None)
    }

    /// Checks the length of the current frame with `incomplete` bytes of its next line.
    fn check_length(&self, incomplete: usize) -> Result<(), FrameTooLong> {
        let length = self.frame.event.len() + self.frame.data.len() + incomplete;
        if length > self.limit {
            return Err(FrameTooLong);
        }
        Ok(())
    }

    /// The next complete line without its end, which is LF, CR or CR LF.
    fn line(&mut self) -> Option<BytesMut> {
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                self.buffer.advance(1);
            }
        }
        let unsearched = &self.buffer[self.searched..];
        let end = unsearched
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end else {
            self.searched = self.buffer.len();
            return None;
        };
        let mut line = self.buffer.split_to(self.searched + end);
        self.after_cr = self.buffer[0] == b'\r';
        self.buffer.advance(1);
        self.searched = 0;
        if !std::mem::replace(&mut self.begun, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.advance(BYTE_ORDER_MARK.len());
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut decoder = SseDecoder::default();
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.push(&Bytes::copy_from_slice(chunk));
            while let Some(frame) = decoder.next().unwrap() {
                out.push((frame.event, frame.data));
            }
        }
        out
    }

    /// Checks the frames of a stream that is cut into two pieces anywhere.
    fn assert_frames(stream: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(event, data)| ((*event).to_owned(), (*data).to_owned()))
            .collect();
        for at in 0..stream.len() {
            let (first, second) = stream.as_bytes().split_at(at);
            assert_eq!(frames(&[first, second]), expected, "cut at {at}");
        }
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut() {
        assert_frames(
            ": hello\n\nid: 1\nevent: stdout\ndata: {\"ä\":\ndata: 1}\n\nevent: exit\r\ndata:x\r\n\r\ndata\n\n",
            &[("stdout", "{\"ä\":\n1}"), ("exit", "x"), ("", "")],
        );
    }

    #[test]
    fn lines_may_end_with_a_carriage_return_and_a_byte_order_mark_may_come_first() {
        assert_frames(
            "\u{feff}event: a\rdata: 1\rdata: 2\r\rdata: 3\r\n\r\n\rdata: 4\n\r",
            &[("a", "1\n2"), ("", "3"), ("", "4")],
        );
        // Only the first line may have one.
        assert_frames("data: 1\n\n\u{feff}data: 2\n\n", &[("", "1")]);
    }

    #[test]
    fn an_incomplete_frame_is_dropped() {
        assert_eq!(frames(&[b"event: exit\ndata: {\"id\":1}\n"]), vec![]);
        assert_eq!(frames(&[b": keepalive\n\n"]), vec![]);
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        const LIMIT: usize = 1000;
        for (line, is_refused) in [
            (&b"data: xxxxxxxxx\n"[..], true),
            (b"data:\r", true),
            (b"x", true),
            (b"event: xxxxxxxxx\n", false),
            (b": a comment\n", false),
            (b"data: xxxxxxxxx\n\n", false),
        ] {
            let mut decoder = SseDecoder::with_limit(LIMIT);
            let line = Bytes::from_static(line);
            let mut refused = false;
            for _ in 0..LIMIT * 2 {
                decoder.push(&line);
                while let Some(frame) = decoder.next().unwrap_or_else(|FrameTooLong| {
                    refused = true;
                    None
                }) {
                    assert!(frame.data.len() <= LIMIT);
                }
                if refused {
                    break;
                }
            }
            assert_eq!(refused, is_refused, "{line:?}");
        }
    }

    #[test]
    fn a_decoder_knows_whether_it_is_within_a_frame() {
        let mut decoder = SseDecoder::default();
        for (piece, within) in [
            (": comment\n", false),
            ("da", true),
            ("ta: 1\n", true),
            ("\r", false),
            ("\n", false),
            ("event: a\n", true),
        ] {
            decoder.push(&Bytes::from_static(piece.as_bytes()));
            while decoder.next().unwrap().is_some() {}
            assert_eq!(decoder.is_within_frame(), within, "{piece:?}");
        }
    }
}
