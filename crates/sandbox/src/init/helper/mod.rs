//! What an init does besides running sandboxes: looking into images, unpacking, squashing and comparing layers.

pub(super) mod changed;
mod lookup;
mod marks;
pub(super) mod squash;
pub(super) mod unpack;
pub(super) mod view;
mod walk;
