//! Bounds of this engine; `whoami` tells clients the ones that matter to them.

/// Longest run of a command, in seconds.
pub(super) const TIMEOUT: u64 = 3600;

/// Most recorded bytes of each output stream.
pub(super) const OUTPUT_BYTES: u64 = 10 * 1024 * 1024;

/// What a command may write to its filesystem unless it asks for something else: the API's default for `max_layer_bytes`.
pub(super) const LAYER_BYTES: u64 = 12 * 1024 * 1024 * 1024;

/// The most that it can ask for; the disk is the real bound.
pub(super) const MOST_LAYER_BYTES: u64 = 1 << 40;

/// Longest tag.
pub(super) const TAG_BYTES: usize = 255;

/// Most layers of an image, short of what the kernel takes.
pub(super) const LAYERS: usize = 480;

/// Most processes and threads in one sandbox.
pub(super) const PROCESSES: u32 = 4096;

/// Least and most memory that a request may bound a sandbox to; a sandbox without a command takes a few MiB.
pub(super) const MEMORY_BYTES: std::ops::RangeInclusive<u64> = 16 << 20..=1 << 50;

/// Fewest and most processors that a request may bound a sandbox to.
pub(super) const CPUS: std::ops::RangeInclusive<f64> = 0.01..=4096.0;

/// Fewest processes and threads that a request may bound a sandbox to.
pub(super) const FEWEST_PROCESSES: u32 = 4;

/// Largest JSON body, in bytes. Files go through `POST /files`, which has no bound but the disk's.
pub(super) const BODY_BYTES: usize = 64 * 1024 * 1024;

/// Most imports that wait for their turn.
pub(super) const IMPORTS_WAITING: usize = 1_000;

/// Most processes that clients run in one sandbox at once, beside its main one.
pub(super) const SUBPROCESSES: usize = 256;

/// Most processes that clients start in one sandbox over its life; each adds to its log.
pub(super) const SUBPROCESSES_IN_ALL: u64 = 10_000;
