//! Unified differences between two texts.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::{DiffOp, group_diff_ops};

/// Lines around a change that a hunk shows.
const CONTEXT: usize = 3;
/// How long to look for the smallest difference. After that, any difference is taken.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The hunks of a unified difference, without a header. They are empty if the texts are equal.
#[must_use]
pub fn hunks(before: &str, after: &str) -> String {
    let mut out = String::new();
    push_hunks(&mut out, before, after);
    out
}

/// Appends the hunks that turn one text into another.
pub(crate) fn push_hunks(out: &mut String, before: &str, after: &str) {
    let (old, new) = (split(before), split(after));
    for group in group_diff_ops(changes(&old, &new), CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        let _ = writeln!(
            out,
            "@@ -{} +{} @@",
            range(old_range.start, old_range.len()),
            range(new_range.start, new_range.len())
        );
        for change in group {
            if let DiffOp::Equal { .. } = change {
                push_lines(out, ' ', &old[change.old_range()]);
            } else {
                push_lines(out, '-', &old[change.old_range()]);
                push_lines(out, '+', &new[change.new_range()]);
            }
        }
    }
}

/// The changes by the algorithm of Myers. `similar::capture_diff_slices` does the same, and brings
/// the code of every other algorithm into the program.
fn changes(old: &[&str], new: &[&str]) -> Vec<DiffOp> {
    let mut hook = Compact::new(Replace::new(Capture::new()), old, new);
    let (old_range, new_range) = (0..old.len(), 0..new.len());
    let deadline = Some(Instant::now() + TIMEOUT);
    let Ok(()) = myers::diff_deadline(&mut hook, old, old_range, new, new_range, deadline);
    hook.into_inner().into_inner().into_ops()
}

/// The lines of a text with their ends.
fn split(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// A range of lines, counted from 1. An empty range names the line before it.
fn range(start: usize, length: usize) -> String {
    match length {
        0 => format!("{start},0"),
        1 => (start + 1).to_string(),
        _ => format!("{},{length}", start + 1),
    }
}

fn push_lines(out: &mut String, mark: char, lines: &[&str]) {
    for line in lines {
        out.push(mark);
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunks_have_ranges_and_marks_for_missing_newlines() {
        assert_eq!(hunks("", "a\n"), "@@ -0,0 +1 @@\n+a\n");
        assert_eq!(
            hunks("a\nb", "a\n"),
            "@@ -1,2 +1 @@\n a\n-b\n\\ No newline at end of file\n"
        );
        assert_eq!(
            hunks("a", "a\n"),
            "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"
        );
        assert_eq!(hunks("same\n", "same\n"), "");
    }
}
