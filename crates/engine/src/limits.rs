//! Limits of this engine. `whoami` reports those that matter to clients.

/// Longest time-out of a command, in seconds: 24 hours. A request without a time-out gets one hour.
pub(super) const MAX_TIMEOUT: u64 = 24 * 3600;

/// Maximum number of recorded bytes of each output stream.
pub(super) const MAX_OUTPUT_BYTES: u64 = 10 * 1024 * 1024;

/// Bytes that a command may write to its filesystem by default: the API's default for
/// `max_layer_bytes`.
pub(super) const DEFAULT_LAYER_BYTES: u64 = 12 * 1024 * 1024 * 1024;

/// Largest `max_layer_bytes` of a request. The disk is the real limit.
pub(super) const MAX_LAYER_BYTES: u64 = 1 << 40;

/// Longest tag, in bytes.
pub(super) const MAX_TAG_BYTES: usize = 255;

/// Maximum number of layers of an image. The kernel's own limit is a little higher.
pub(super) const MAX_LAYERS: usize = 480;

/// Maximum number of processes and threads in one sandbox.
pub(super) const MAX_PROCESSES: u32 = 4096;

/// Smallest and largest memory limit of a sandbox, in bytes. A sandbox without a command takes a
/// few MiB.
pub(super) const MEMORY_BYTES: std::ops::RangeInclusive<u64> = 16 << 20..=1 << 50;

/// Smallest and largest processor limit of a sandbox.
pub(super) const CPUS: std::ops::RangeInclusive<f64> = 0.01..=4096.0;

/// Smallest limit of processes and threads of a sandbox.
pub(super) const MIN_PROCESSES: u32 = 4;

/// Largest JSON body, in bytes. Uploads (`POST /files`) are limited only by the disk.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Maximum number of imports that may wait in the queue.
pub(super) const MAX_IMPORTS_WAITING: usize = 1_000;

/// Maximum number of ports that a request to run a command publishes.
pub(super) const MAX_RUN_PORTS: usize = 16;

/// Maximum number of subprocesses that run in one sandbox at once.
pub(super) const MAX_SUBPROCESSES: usize = 256;

/// Maximum number of subprocesses that clients may start in one sandbox. Each adds to the event
/// log.
pub(super) const MAX_SUBPROCESSES_STARTED: u64 = 10_000;
