//! What an init does besides running sandboxes: it looks into images, and unpacks, squashes and
//! compares layers.

pub(super) mod changed;
mod lookup;
mod marks;
pub(super) mod squash;
pub(super) mod unpack;
pub(super) mod view;
mod walk;
