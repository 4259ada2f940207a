//! Files of a control group.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a group if it does not exist.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Opens a file of a group for writing.
pub(super) fn open(directory: &Path, file: &str) -> io::Result<File> {
    OpenOptions::new().write(true).open(directory.join(file))
}

/// Writes a value into a file of a group.
pub(super) fn set(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    use std::io::Write as _;
    open(directory, file)?.write_all(value.as_bytes())
}

/// Finds the number of a name in a file with a name and a number in each line.
pub(super) fn value(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value(text, "oom_kill"), Some(2));
        assert_eq!(value(text, "kill"), None);
    }
}
