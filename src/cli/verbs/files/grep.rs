//! `contree grep`: searches the files of an image.

use clap::{Args, ValueEnum};

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::rows::print_record;
use crate::cli::habits::without_effect;
use crate::cli::number;
use crate::cli::output::{print, print_json, print_message};
use crate::types::InspectImageGrepCase;

/// How a search treats upper and lower case.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Case {
    #[default]
    Sensitive,
    Insensitive,
    Smart,
}

/// Search the files of an image
#[derive(Args, Debug)]
#[command(arg = without_effect("recursive", Some('r')).short_alias('R'))]
#[command(arg = without_effect("line-number", Some('n')))]
#[command(after_help = "\
Examples:
  contree grep TODO /app --glob '*.py'
  contree grep -C 2 root base:/etc    in another image, with two lines around

Exit status: 0 if a line matches, else 1.")]
pub(in crate::cli) struct Grep {
    /// A regular expression
    pattern: String,
    /// PATH or IMAGE:/PATH; default: the session's directory
    paths: Vec<String>,
    /// Only files whose name matches GLOB
    #[arg(long, value_name = "GLOB")]
    glob: Vec<String>,
    /// At most N matches in a file
    #[arg(long, value_name = "N", value_parser = number::positive)]
    max_count: Option<u64>,
    /// At most N matches; default: 1000
    #[arg(long, value_name = "N", value_parser = number::positive)]
    max_total: Option<u64>,
    /// Upper and lower case; `smart` ignores them unless the pattern has an upper-case letter
    #[arg(long, value_enum, default_value_t)]
    case: Case,
    /// The same as `--case insensitive`
    #[arg(short, long, conflicts_with = "case")]
    ignore_case: bool,
    /// Lines before a match
    #[arg(short = 'B', long, visible_alias = "before-context", value_name = "N", value_parser = number::count::<u64>)]
    before: Option<u64>,
    /// Lines after a match
    #[arg(short = 'A', long, visible_alias = "after-context", value_name = "N", value_parser = number::count::<u64>)]
    after: Option<u64>,
    /// Lines before and after a match
    #[arg(short = 'C', long, value_name = "N", value_parser = number::count::<u64>)]
    context: Option<u64>,
    /// Print the API's answer as JSON
    #[arg(long)]
    raw: bool,
}

impl Grep {
    fn case(&self) -> Case {
        match self.ignore_case {
            true => Case::Insensitive,
            false => self.case,
        }
    }

    pub(in crate::cli::verbs) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let case = self.case();
        let mut image = None;
        let mut paths = Vec::new();
        let default = [".".to_owned()];
        let given = if self.paths.is_empty() {
            &default[..]
        } else {
            &self.paths
        };
        for text in given {
            let at = cx.image_path(text).await?;
            if image.is_some_and(|image| image != at.image) {
                return Err(VerbError::Usage(
                    "the paths are in several images; search one image at a time".to_owned(),
                ));
            }
            image = Some(at.image);
            paths.push(at.path);
        }
        let Some(image) = image else {
            return Err(VerbError::Usage("give a path to search".to_owned()));
        };
        let mut request = cx
            .client
            .inspect_image_grep()
            .image_uuid(image)
            .pattern(vec![self.pattern])
            .path(paths)
            .case(match case {
                Case::Sensitive => InspectImageGrepCase::Sensitive,
                Case::Insensitive => InspectImageGrepCase::Insensitive,
                Case::Smart => InspectImageGrepCase::Smart,
            });
        if !self.glob.is_empty() {
            request = request.glob(self.glob);
        }
        if let Some(count) = self.max_count {
            request = request.max_count(count);
        }
        if let Some(count) = self.max_total {
            request = request.max_total(count);
        }
        if let Some(lines) = self.before.or(self.context) {
            request = request.before(lines);
        }
        if let Some(lines) = self.after.or(self.context) {
            request = request.after(lines);
        }
        let answer = cx.unless_interrupted(async { Ok(request.send().await?) });
        let found = answer.await?.into_inner();
        let status = u8::from(found.matches.is_empty());
        if self.raw {
            print_json(&format!("{}\n", serde_json::to_string(&found)?))?;
            return Ok(status);
        }
        if cx.format.is_json() {
            for line in &found.matches {
                print_record(cx.format, line)?;
            }
            return Ok(status);
        }
        let mut text = String::new();
        for line in &found.matches {
            let mark = if line.type_ == "context" { '-' } else { ':' };
            let content = line.line_text.trim_end_matches(['\n', '\r']);
            text.push_str(&format!(
                "{}{mark}{}{mark}{content}\n",
                line.path, line.line_number
            ));
        }
        print(&text)?;
        if found.truncated {
            print_message("there are more matches; --max-total N shows more");
        }
        Ok(status)
    }
}
