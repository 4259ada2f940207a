//! The terms of the domain, above the generated client: images, commands, runs and sessions.

#[cfg(all(feature = "sync", unix))]
mod apply;
mod best_of;
mod cancel;
mod command;
mod connect;
mod content;
mod exec;
mod grep;
mod history;
mod image;
mod image_files;
mod import;
#[cfg(feature = "lineage")]
mod lineage;
mod lists;
mod output;
mod pages;
mod ports;
mod program;
mod running;
mod session;
mod session_file;
mod start;
mod stdin;
mod step;
mod terminal;
mod text;
mod time;
#[cfg(feature = "sync")]
mod tree;
#[cfg(feature = "sync")]
mod unpack;
#[cfg(all(feature = "sync", any(not(unix), test)))]
mod unpack_archive;
#[cfg(feature = "sync")]
mod unpacked;

#[cfg(all(feature = "sync", unix))]
pub use apply::Apply;
pub use best_of::{Best, best_of, best_of_until};
pub use command::Command;
pub use connect::ClientBuilder;
pub use content::{Content, Input};
pub use exec::{Exec, Process};
pub use grep::{Grep, Match, Matches};
pub use image::{Image, ImageInfo};
pub use image_files::{FileEntry, FileKind, FileReader, ImageFiles};
pub use import::{Import, ImportProgress};
#[cfg(feature = "lineage")]
pub use lineage::{Lineage, Origin};
pub use lists::{FileInfo, Files, Images, OperationInfo, Operations};
pub use output::{Attached, Changes, Discard, Keep, Output, ResultImage};
pub use running::{Events, Running};
pub use session::{Session, SessionCommand};
pub use stdin::Stdin;
pub use step::Step;
pub use terminal::{Terminal, TerminalOutput};
pub use text::ToText;
pub use time::Time;
#[cfg(feature = "sync")]
pub use tree::{SkippedPath, Tree, UploadDir};
#[cfg(feature = "sync")]
pub use unpacked::Unpacked;
