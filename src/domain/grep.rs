//! Searching the files of an image.

use std::pin::Pin;

use super::{image::Image, image_files::ImageFiles, text::ToText};
use crate::{Error, types};

/// A search in the files of an image. Awaiting it searches.
///
/// ```no_run
/// # async fn example(image: contree::Image) -> Result<(), contree::Error> {
/// let found = image.fs().grep("TODO").path("/src").glob("*.rs").await?;
/// for line in &found.matches {
///     println!("{}:{}: {}", line.path, line.line_number, line.line);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a search starts when it is awaited"]
pub struct Grep {
    image: Image,
    /// The patterns, paths and globs, or the first one that is not text.
    terms: Result<Terms, String>,
    max_count: Option<u64>,
    max_total: Option<u64>,
    before: Option<u64>,
    after: Option<u64>,
    case: types::InspectImageGrepCase,
}

#[derive(Clone, Debug, Default)]
struct Terms {
    patterns: Vec<String>,
    paths: Vec<String>,
    globs: Vec<String>,
}

impl ImageFiles {
    /// A search for lines that match a regular expression. Hidden files are searched, binary files
    /// are not.
    pub fn grep(&self, pattern: impl ToText) -> Grep {
        let grep = Grep {
            image: self.image.clone(),
            terms: Ok(Terms::default()),
            max_count: None,
            max_total: None,
            before: None,
            after: None,
            case: types::InspectImageGrepCase::Sensitive,
        };
        grep.pattern(pattern)
    }
}

impl Grep {
    fn add(mut self, term: impl ToText, list: fn(&mut Terms) -> &mut Vec<String>) -> Self {
        if let Ok(terms) = &mut self.terms {
            match term.to_text() {
                Ok(term) => list(terms).push(term),
                Err(error) => self.terms = Err(error.to_string()),
            }
        }
        self
    }

    /// Adds a regular expression. A line must match one of them.
    pub fn pattern(self, pattern: impl ToText) -> Self {
        self.add(pattern, |terms| &mut terms.patterns)
    }

    /// Adds a file or directory to search; the default is the whole image.
    pub fn path(self, path: impl ToText) -> Self {
        self.add(path, |terms| &mut terms.paths)
    }

    /// Adds a pattern for names of files, such as `*.rs`; with a leading `!`, it excludes files.
    pub fn glob(self, glob: impl ToText) -> Self {
        self.add(glob, |terms| &mut terms.globs)
    }

    /// Ignores upper and lower case.
    pub fn ignore_case(mut self) -> Self {
        self.case = types::InspectImageGrepCase::Insensitive;
        self
    }

    /// Sets how many matches of each file are returned at most.
    pub fn max_count(mut self, count: u64) -> Self {
        self.max_count = Some(count);
        self
    }

    /// Sets how many matches are returned at most; the default is 1000.
    pub fn max_total(mut self, count: u64) -> Self {
        self.max_total = Some(count);
        self
    }

    /// Also returns lines before and after each match.
    pub fn context(mut self, before: u64, after: u64) -> Self {
        self.before = Some(before);
        self.after = Some(after);
        self
    }

    async fn search(self) -> Result<Matches, Error> {
        let terms = self.terms.map_err(Error::InvalidArgument)?;
        let uuid = self.image.uuid().await?;
        let mut request = self
            .image
            .client()
            .inspect_image_grep()
            .image_uuid(uuid)
            .pattern(terms.patterns)
            .case(self.case);
        if !terms.paths.is_empty() {
            request = request.path(terms.paths);
        }
        if !terms.globs.is_empty() {
            request = request.glob(terms.globs);
        }
        if let Some(count) = self.max_count {
            request = request.max_count(count);
        }
        if let Some(count) = self.max_total {
            request = request.max_total(count);
        }
        if let Some(lines) = self.before {
            request = request.before(lines);
        }
        if let Some(lines) = self.after {
            request = request.after(lines);
        }
        let found = request.send().await?.into_inner();
        Ok(Matches {
            matches: found.matches.into_iter().map(Match::from).collect(),
            truncated: found.truncated,
        })
    }
}

impl IntoFuture for Grep {
    type Output = Result<Matches, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.search())
    }
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matches {
    /// The lines, with those around them.
    pub matches: Vec<Match>,
    /// Whether the search ended before it had found everything.
    pub truncated: bool,
}

/// A line that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Match {
    /// The absolute path of the file.
    pub path: String,
    /// The number of the line, from 1.
    pub line_number: u64,
    /// The line, cut to 4096 bytes, without its end.
    pub line: String,
    /// Whether the line itself matches; otherwise it is before or after one that does.
    pub is_match: bool,
}

impl From<types::GrepMatch> for Match {
    fn from(found: types::GrepMatch) -> Self {
        Self {
            path: found.path,
            line_number: u64::try_from(found.line_number).unwrap_or_default(),
            line: found.line_text.trim_end_matches(['\n', '\r']).to_owned(),
            is_match: found.type_ != "context",
        }
    }
}
