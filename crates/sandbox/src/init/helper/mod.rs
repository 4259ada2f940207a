//! The tasks of an init besides running sandboxes: serving views, and unpacking, packing,
//! squashing, comparing and copying layers.

pub(super) mod changed;
pub(super) mod compare;
mod lookup;
mod lower_layers;
mod marks;
pub(super) mod pack;
pub(super) mod snapshot;
pub(super) mod squash;
mod temporary_lines;
pub(super) mod unpack;
pub(super) mod view;
mod walk;
