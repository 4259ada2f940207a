//! Options whose value is a path of this machine.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use contree_paths::expand_home;

/// The parser of such an option. It expands a leading `~`, which shells leave alone in
/// `--option=~/x` and in files of settings.
pub(super) fn home_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|path| expand_home(path, std::env::home_dir))
}
