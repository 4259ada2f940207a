//! `contree ls`, `cat`, `grep`, `cp` and `export`: the files of an image, without a sandbox.

mod cat;
mod cp;
mod export;
mod grep;
mod image_path;
mod ls;
mod stream;

pub(super) use cat::Cat;
pub(super) use cp::Cp;
pub(super) use export::Export;
pub(super) use grep::Grep;
pub(super) use ls::Ls;
