//! Tests as an ordinary user, whom permissions bind.

/// Runs a test without the privilege of root to ignore permissions.
pub(super) fn as_ordinary_user(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            #[cfg(target_os = "linux")]
            {
                use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
                let ignores = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
                let mut sets = capabilities(None).unwrap();
                sets.effective.remove(ignores);
                set_capabilities(None, sets).unwrap();
            }
            test();
        });
        if let Err(failed) = thread.join() {
            std::panic::resume_unwind(failed);
        }
    });
}
