//! Operations from their acceptance to their end, whatever they do: the queue, the log, and what ended engines leave.

pub(crate) mod begun;
pub(crate) mod completion;
pub(crate) mod events;
pub(crate) mod lifecycle;
pub(crate) mod lookup;
pub(crate) mod queue;
pub(crate) mod recover;
pub(crate) mod running;
