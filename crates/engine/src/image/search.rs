//! Searching the files of an image for lines, on ripgrep's own crates.
//!
//! What bounds it: the pattern's compiled size, the memory for one line, matches and bytes of the answer, and time, which is looked at between
//! entries and between reads of a file. It is over soon after its client is gone.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use contree_sandbox::{EntryKind, ViewError, Walk};
use grep_matcher::Matcher as _;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{
    BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkFinish,
    SinkMatch,
};
use ignore::overrides::{Override, OverrideBuilder};

use crate::api::types::{
    GrepMatch, GrepMatchType, GrepSubmatch, InspectImageGrepQuery, InspectImageGrepQueryCase,
};

/// How long a search may take. What was found until then is answered as truncated.
pub(crate) const TIME: Duration = Duration::from_secs(30);
/// The most that the patterns may take when compiled, and what speeds them up.
const PATTERN_BYTES: usize = 8 << 20;
const PATTERN_CACHE_BYTES: usize = 16 << 20;
/// The longest line that is searched; a file with a longer one is left at it, and the answer is truncated.
const LONGEST_LINE: usize = 16 << 20;
/// How much of a line is answered.
const SHOWN_LINE: usize = 4096;
/// The most parts of one line that are pointed out.
const MOST_PARTS: usize = 4096;
/// The most text in an answer, lines of context included.
const MOST_TEXT: usize = 32 << 20;

/// Why a search cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// The patterns are no regular expressions, or too large ones.
    #[error("`pattern`: {0}")]
    Pattern(#[source] grep_regex::Error),
    /// A glob cannot be read.
    #[error("`glob`: {0}")]
    Glob(#[source] ignore::Error),
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) lines: Vec<GrepMatch>,
    pub(crate) truncated: bool,
}

/// A search that can be run.
pub(crate) struct Search {
    matcher: RegexMatcher,
    searcher: Searcher,
    globs: Override,
    progress: SearchProgress,
}

/// How far a search has come, and what ends it.
struct SearchProgress {
    max_total: usize,
    /// Set when nobody waits for the answer any more.
    stop: Arc<AtomicBool>,
    deadline: Instant,
    found: Found,
    matches: usize,
    text: usize,
}

impl SearchProgress {
    /// Whether there is time, room and somebody who waits.
    fn goes_on(&mut self) -> bool {
        if self.full() {
            return false;
        }
        if over(&self.stop, self.deadline) {
            self.found.truncated = true;
            return false;
        }
        true
    }

    fn full(&self) -> bool {
        self.matches > self.max_total || self.text > MOST_TEXT
    }
}

fn over(stop: &AtomicBool, deadline: Instant) -> bool {
    stop.load(Ordering::Relaxed) || Instant::now() >= deadline
}

impl Search {
    /// Prepares a search.
    ///
    /// # Errors
    /// What is wrong with a pattern or a glob.
    pub(crate) fn new(
        query: &InspectImageGrepQuery,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, QueryError> {
        let matcher = RegexMatcherBuilder::new()
            .multi_line(true)
            .unicode(true)
            .octal(false)
            .line_terminator(Some(b'\n'))
            .case_insensitive(query.case == InspectImageGrepQueryCase::Insensitive)
            .case_smart(query.case == InspectImageGrepQueryCase::Smart)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_CACHE_BYTES)
            .build_many(&query.pattern)
            .map_err(QueryError::Pattern)?;
        let mut globs = OverrideBuilder::new("/");
        for glob in &query.glob {
            globs.add(glob).map_err(QueryError::Glob)?;
        }
        let globs = globs.build().map_err(QueryError::Glob)?;
        let searcher = SearcherBuilder::new()
            .line_number(true)
            .before_context(usize::try_from(query.before).unwrap_or(usize::MAX))
            .after_context(usize::try_from(query.after).unwrap_or(usize::MAX))
            .max_matches(query.max_count)
            .heap_limit(Some(LONGEST_LINE))
            .binary_detection(BinaryDetection::quit(0))
            .build();
        Ok(Self {
            matcher,
            searcher,
            globs,
            progress: SearchProgress {
                max_total: usize::try_from(query.max_total).unwrap_or(usize::MAX),
                stop,
                deadline: Instant::now() + TIME,
                found: Found::default(),
                matches: 0,
                text: 0,
            },
        })
    }

    /// Searches the file or directory that each path leads to, in this order.
    ///
    /// # Errors
    /// When a path is not there, or the image cannot be read.
    pub(crate) fn run(
        mut self,
        walk: &mut Walk,
        paths: &[PathBuf],
    ) -> Result<Found, (PathBuf, ViewError)> {
        // First all of them, so that the answer does not hang on how much another had.
        for path in paths {
            walk.view()
                .find(path)
                .map_err(|error| (path.clone(), error))?;
        }
        for path in paths {
            if !self.progress.goes_on() {
                break;
            }
            self.root(walk, path)
                .map_err(|error| (path.clone(), error))?;
        }
        Ok(self.progress.found)
    }

    fn root(&mut self, walk: &mut Walk, root: &Path) -> Result<(), ViewError> {
        match walk.start(root)?.kind {
            // A file that is named is searched whatever the globs say, as ripgrep does.
            EntryKind::File => {
                let (file, _) = walk.view().open_file(root)?;
                self.file(root, file);
                return Ok(());
            }
            EntryKind::Directory => {}
            _ => return Ok(()),
        }
        let mut enter = false;
        while self.progress.goes_on() {
            match walk.next(enter) {
                Ok(true) => {}
                Ok(false) => break,
                // Deeper or wider than can be held: what is beyond was not searched.
                Err(ViewError::TooMany | ViewError::NotFound) => {
                    self.progress.found.truncated = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            enter = self.batch(walk, root)?;
        }
        Ok(())
    }

    /// Searches the files of a batch; answers whether to go into the directory that it ends with.
    fn batch(&mut self, walk: &Walk, root: &Path) -> Result<bool, ViewError> {
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
        for which in wanted.chunks(Walk::MAX_OPEN) {
            for (at, file) in which.iter().zip(walk.open(which)?) {
                match file {
                    Ok(file) => self.file(&path(*at), file),
                    Err(_) => self.progress.found.truncated = true,
                }
                if !self.progress.goes_on() {
                    return Ok(false);
                }
            }
        }
        Ok(walk.ends_with_directory() && {
            let last = walk.entries().len() - 1;
            !self.globs.matched(path(last), true).is_ignore()
        })
    }

    fn file(&mut self, path: &Path, file: File) {
        let progress = &mut self.progress;
        let before = (progress.found.lines.len(), progress.matches, progress.text);
        let reader = Watched {
            file,
            stop: Arc::clone(&progress.stop),
            deadline: progress.deadline,
        };
        let mut lines = Lines {
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
            let (lines, matches, text) = before;
            progress.found.lines.truncate(lines);
            (progress.matches, progress.text) = (matches, text);
        } else if done.is_err() {
            progress.found.truncated = true;
        }
    }
}

/// Takes the lines of one file.
struct Lines<'a> {
    path: Arc<str>,
    matcher: &'a RegexMatcher,
    progress: &'a mut SearchProgress,
    /// How many lines were taken because a match comes next.
    leading: usize,
    binary: bool,
}

impl Lines<'_> {
    fn push(
        &mut self,
        bytes: &[u8],
        number: Option<u64>,
        offset: u64,
        submatches: Vec<GrepSubmatch>,
        r#type: GrepMatchType,
    ) {
        let shown = &bytes[..cut(bytes)];
        let line_text = String::from_utf8_lossy(shown).into_owned();
        self.progress.text += line_text.len()
            + submatches
                .iter()
                .map(|part| part.text.len() + 64)
                .sum::<usize>()
            + 128;
        self.progress.found.lines.push(GrepMatch {
            path: Arc::clone(&self.path),
            line_number: number.unwrap_or_default(),
            absolute_offset: offset,
            line_text,
            line_bytes: bytes.len(),
            submatches,
            r#type,
        });
        if self.progress.text > MOST_TEXT {
            self.progress.found.truncated = true;
        }
    }

    fn parts(&self, line: &[u8]) -> io::Result<Vec<GrepSubmatch>> {
        let mut parts = Vec::new();
        self.matcher.find_iter(line, |found| {
            let text = &line[found.start()..found.end()];
            parts.push(GrepSubmatch {
                text: String::from_utf8_lossy(&text[..cut(text)]).into_owned(),
                start: found.start(),
                end: found.end(),
            });
            parts.len() < MOST_PARTS
        })?;
        Ok(parts)
    }
}

/// Where a line is cut: not within a character.
fn cut(bytes: &[u8]) -> usize {
    if bytes.len() <= SHOWN_LINE {
        return bytes.len();
    }
    let begins = |at: usize| bytes[at] & 0xc0 != 0x80;
    (SHOWN_LINE - 3..=SHOWN_LINE)
        .rev()
        .find(|&at| begins(at))
        .unwrap_or(SHOWN_LINE)
}

impl Sink for Lines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        self.progress.matches += 1;
        if self.progress.matches > self.progress.max_total {
            self.progress.found.truncated = true;
            // What stands before a match that is not answered is not answered either.
            let lines = &mut self.progress.found.lines;
            lines.truncate(lines.len().saturating_sub(self.leading));
            return Ok(false);
        }
        self.leading = 0;
        let line = found.bytes();
        let trimmed = line.strip_suffix(b"\n").unwrap_or(line);
        let parts = self.parts(trimmed)?;
        self.push(
            line,
            found.line_number(),
            found.absolute_byte_offset(),
            parts,
            GrepMatchType::Match,
        );
        Ok(!self.progress.full())
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
        Ok(!self.progress.full())
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

/// A file whose reading ends in an error when the time is over or nobody waits any more.
struct Watched {
    file: File,
    stop: Arc<AtomicBool>,
    deadline: Instant,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if over(&self.stop, self.deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.file.read(buffer)
    }
}
