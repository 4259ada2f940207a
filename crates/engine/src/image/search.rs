//! Searches the files of an image for lines, with ripgrep's own crates.
//!
//! These bounds apply:
//! - the compiled size of the pattern;
//! - the memory for one line;
//! - the matches and bytes of the answer;
//! - the time, which is checked between entries and between reads of a file.
//!
//! A search ends soon after its client disconnects.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use contree_sandbox::{EntryKind, ViewError, Walk};
use grep_matcher::{LineTerminator, Matcher as _};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{
    BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkFinish,
    SinkMatch,
};
use ignore::overrides::{Override, OverrideBuilder};

use crate::api::types::{
    GrepMatch, GrepMatchType, GrepSubmatch, InspectImageGrepQuery, InspectImageGrepQueryCase,
};

/// How long a search may take. Then it answers with the matches so far, marked as truncated.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The most memory for the compiled patterns.
const MAX_PATTERN_BYTES: usize = 8 << 20;
/// The most memory for the automata that speed the patterns up.
const MAX_AUTOMATON_BYTES: usize = 16 << 20;
/// The longest line that is searched. A search of a file ends at a longer line, and the answer is
/// marked as truncated.
const MAX_LINE_BYTES: usize = 16 << 20;
/// The most bytes of a line in the answer.
const MAX_SHOWN_BYTES: usize = 4096;
/// The most matches within one line in the answer.
const MAX_SUBMATCHES: usize = 4096;
/// The most bytes of text in an answer, including context lines.
const MAX_TEXT_BYTES: usize = 32 << 20;

/// The reason why a search cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// The patterns are not valid regular expressions, or too large.
    #[error("`pattern`: {0}")]
    Pattern(#[source] grep_regex::Error),
    /// A glob is not valid.
    #[error("`glob`: {0}")]
    Glob(#[source] ignore::Error),
}

/// The matches of a search.
#[derive(Debug, Default)]
pub(crate) struct SearchResult {
    pub(crate) lines: Vec<GrepMatch>,
    pub(crate) truncated: bool,
}

/// A prepared search.
pub(crate) struct Search {
    matcher: RegexMatcher,
    searcher: Searcher,
    globs: Override,
    progress: SearchProgress,
}

/// The progress of a search, and the conditions that end it.
struct SearchProgress {
    max_total: usize,
    /// Set when the client no longer waits for the answer.
    stop: Arc<AtomicBool>,
    deadline: Instant,
    result: SearchResult,
    matches: usize,
    text_bytes: usize,
}

impl SearchProgress {
    /// Returns whether the client still waits and neither the time nor the answer's size is
    /// exhausted.
    fn can_continue(&mut self) -> bool {
        if self.is_full() {
            return false;
        }
        if is_interrupted(&self.stop, self.deadline) {
            self.result.truncated = true;
            return false;
        }
        true
    }

    fn is_full(&self) -> bool {
        self.matches > self.max_total || self.text_bytes > MAX_TEXT_BYTES
    }
}

fn is_interrupted(stop: &AtomicBool, deadline: Instant) -> bool {
    stop.load(Ordering::Relaxed) || Instant::now() >= deadline
}

impl Search {
    /// Prepares a search.
    ///
    /// # Errors
    /// Returns the pattern or glob that is not valid.
    pub(crate) fn new(
        query: &InspectImageGrepQuery,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, QueryError> {
        let matcher = RegexMatcherBuilder::new()
            .multi_line(true)
            .unicode(true)
            .octal(false)
            // `$` also matches before the CR of a line that ends in CR LF.
            .crlf(true)
            .case_insensitive(query.case == InspectImageGrepQueryCase::Insensitive)
            .case_smart(query.case == InspectImageGrepQueryCase::Smart)
            .size_limit(MAX_PATTERN_BYTES)
            .dfa_size_limit(MAX_AUTOMATON_BYTES)
            .build_many(&query.pattern)
            .map_err(QueryError::Pattern)?;
        let mut globs = OverrideBuilder::new("/");
        for glob in &query.glob {
            globs.add(glob).map_err(QueryError::Glob)?;
        }
        let globs = globs.build().map_err(QueryError::Glob)?;
        let searcher = SearcherBuilder::new()
            .line_terminator(LineTerminator::crlf())
            .line_number(true)
            .before_context(usize::try_from(query.before).unwrap_or(usize::MAX))
            .after_context(usize::try_from(query.after).unwrap_or(usize::MAX))
            .max_matches(query.max_count)
            .heap_limit(Some(MAX_LINE_BYTES))
            .binary_detection(BinaryDetection::quit(0))
            .build();
        Ok(Self {
            matcher,
            searcher,
            globs,
            progress: SearchProgress {
                max_total: usize::try_from(query.max_total).unwrap_or(usize::MAX),
                stop,
                deadline: Instant::now() + TIME_LIMIT,
                result: SearchResult::default(),
                matches: 0,
                text_bytes: 0,
            },
        })
    }

    /// Searches the file or directory at each path, in this order.
    ///
    /// # Errors
    /// Fails if a path does not exist or the image cannot be read.
    pub(crate) fn run(
        mut self,
        walk: &mut Walk,
        paths: &[PathBuf],
    ) -> Result<SearchResult, (PathBuf, ViewError)> {
        // All paths are checked first, so that a missing path is an error no matter how many
        // matches the others have.
        for path in paths {
            walk.view()
                .find(path)
                .map_err(|error| (path.clone(), error))?;
        }
        for path in paths {
            if !self.progress.can_continue() {
                break;
            }
            self.search_path(walk, path)
                .map_err(|error| (path.clone(), error))?;
        }
        Ok(self.progress.result)
    }

    fn search_path(&mut self, walk: &mut Walk, root: &Path) -> Result<(), ViewError> {
        match walk.start(root)?.kind {
            // Like ripgrep, searches a file that is named explicitly even if the globs exclude it.
            EntryKind::File => {
                let (file, _) = walk.view().open_file(root)?;
                self.search_file(root, file);
                return Ok(());
            }
            EntryKind::Directory => {}
            _ => return Ok(()),
        }
        let mut enter = false;
        while self.progress.can_continue() {
            match walk.next(enter) {
                Ok(true) => {}
                Ok(false) => break,
                // The tree is deeper or wider than the walk can hold. The rest is not searched.
                Err(ViewError::TooMany | ViewError::NotFound) => {
                    self.progress.result.truncated = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            enter = self.search_batch(walk, root)?;
        }
        Ok(())
    }

    /// Searches the files of a batch. Returns whether to enter the directory that ends the batch.
    fn search_batch(&mut self, walk: &Walk, root: &Path) -> Result<bool, ViewError> {
        let directory = root.join(walk.directory());
        let path = |at: usize| directory.join(&walk.entries()[at].entry.name);
        let wanted: Vec<usize> = (0..walk.entries().len())
            .filter(|&at| {
                let entry = &walk.entries()[at].entry;
                entry.kind == EntryKind::File
                    && entry.size > 0
                    && !self.globs.matched(path(at), false).is_ignore()
            })
            .collect();
        for chunk in wanted.chunks(Walk::MAX_OPEN) {
            for (at, file) in chunk.iter().zip(walk.open(chunk)?) {
                match file {
                    Ok(file) => self.search_file(&path(*at), file),
                    Err(_) => self.progress.result.truncated = true,
                }
                if !self.progress.can_continue() {
                    return Ok(false);
                }
            }
        }
        Ok(walk.ends_with_directory() && {
            let last = walk.entries().len() - 1;
            !self.globs.matched(path(last), true).is_ignore()
        })
    }

    fn search_file(&mut self, path: &Path, file: File) {
        let progress = &mut self.progress;
        let before = (
            progress.result.lines.len(),
            progress.matches,
            progress.text_bytes,
        );
        let reader = InterruptibleFile {
            file,
            stop: Arc::clone(&progress.stop),
            deadline: progress.deadline,
        };
        let mut lines = LineCollector {
            path: path.to_string_lossy().into(),
            matcher: &self.matcher,
            progress,
            leading: 0,
            binary: false,
        };
        let done = self
            .searcher
            .search_reader(&self.matcher, reader, &mut lines);
        if lines.binary {
            // Nothing of a binary file is reported.
            let (lines, matches, text_bytes) = before;
            progress.result.lines.truncate(lines);
            (progress.matches, progress.text_bytes) = (matches, text_bytes);
        } else if done.is_err() {
            progress.result.truncated = true;
        }
    }
}

/// Collects the matching and context lines of one file.
struct LineCollector<'a> {
    path: Arc<str>,
    matcher: &'a RegexMatcher,
    progress: &'a mut SearchProgress,
    /// Context lines collected since the last match, for a match that may follow.
    leading: usize,
    binary: bool,
}

impl LineCollector<'_> {
    fn push(
        &mut self,
        bytes: &[u8],
        number: Option<u64>,
        offset: u64,
        submatches: Vec<GrepSubmatch>,
        r#type: GrepMatchType,
    ) {
        let shown = &bytes[..shown_length(bytes)];
        let line_text = String::from_utf8_lossy(shown).into_owned();
        self.progress.text_bytes += line_text.len()
            + submatches
                .iter()
                .map(|part| part.text.len() + 64)
                .sum::<usize>()
            + 128;
        self.progress.result.lines.push(GrepMatch {
            path: Arc::clone(&self.path),
            line_number: number.unwrap_or_default(),
            absolute_offset: offset,
            line_text,
            line_bytes: bytes.len(),
            submatches,
            r#type,
        });
        if self.progress.text_bytes > MAX_TEXT_BYTES {
            self.progress.result.truncated = true;
        }
    }

    /// Finds the matches within a line.
    fn submatches(&self, line: &[u8]) -> io::Result<Vec<GrepSubmatch>> {
        let mut submatches = Vec::new();
        self.matcher.find_iter(line, |found| {
            let text = &line[found.start()..found.end()];
            submatches.push(GrepSubmatch {
                text: String::from_utf8_lossy(&text[..shown_length(text)]).into_owned(),
                start: found.start(),
                end: found.end(),
            });
            submatches.len() < MAX_SUBMATCHES
        })?;
        Ok(submatches)
    }
}

/// The length to which a line is cut, never within a UTF-8 character.
fn shown_length(bytes: &[u8]) -> usize {
    if bytes.len() <= MAX_SHOWN_BYTES {
        return bytes.len();
    }
    let begins = |at: usize| bytes[at] & 0xc0 != 0x80;
    (MAX_SHOWN_BYTES - 3..=MAX_SHOWN_BYTES)
        .rev()
        .find(|&at| begins(at))
        .unwrap_or(MAX_SHOWN_BYTES)
}

impl Sink for LineCollector<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        self.progress.matches += 1;
        if self.progress.matches > self.progress.max_total {
            self.progress.result.truncated = true;
            // The context before a match that is not reported is not reported either.
            let lines = &mut self.progress.result.lines;
            lines.truncate(lines.len().saturating_sub(self.leading));
            return Ok(false);
        }
        self.leading = 0;
        let line = found.bytes();
        let trimmed = line.strip_suffix(b"\n").unwrap_or(line);
        let submatches = self.submatches(trimmed)?;
        self.push(
            line,
            found.line_number(),
            found.absolute_byte_offset(),
            submatches,
            GrepMatchType::Match,
        );
        Ok(!self.progress.is_full())
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> Result<bool, io::Error> {
        self.leading = match context.kind() {
            SinkContextKind::Before => self.leading + 1,
            _ => 0,
        };
        self.push(
            context.bytes(),
            context.line_number(),
            context.absolute_byte_offset(),
            Vec::new(),
            GrepMatchType::Context,
        );
        Ok(!self.progress.is_full())
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> Result<bool, io::Error> {
        self.binary = true;
        Ok(false)
    }

    fn finish(&mut self, _: &Searcher, finish: &SinkFinish) -> Result<(), io::Error> {
        self.binary |= finish.binary_byte_offset().is_some();
        Ok(())
    }
}

/// A file whose reads fail once the time is up or the client no longer waits.
struct InterruptibleFile {
    file: File,
    stop: Arc<AtomicBool>,
    deadline: Instant,
}

impl Read for InterruptibleFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if is_interrupted(&self.stop, self.deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.file.read(buffer)
    }
}
