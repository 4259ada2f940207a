//! An upper bound on what the writable layer takes of one resource.

/// An upper bound on the layer's bytes or inodes: the last measurement, and what the whole file
/// system has gained since.
#[derive(Debug)]
pub(super) struct UsageBound {
    pub limit: u64,
    /// The layer's use at the last measurement.
    measured: u64,
    /// The upper bound on the growth since then.
    growth: u64,
    /// The sizes of successful allocations since then.
    allocated: u64,
    /// The file system's use at the last check.
    used: u64,
    /// All increases of the file system's use since the start.
    pub total_growth: u64,
    /// True if something on this file system was deleted since the last measurement. Then `growth`
    /// may be too low.
    pub saw_deletion: bool,
}

impl UsageBound {
    pub(super) fn new(limit: u64, used: u64) -> Self {
        Self {
            limit,
            measured: 0,
            growth: 0,
            allocated: 0,
            used,
            total_growth: 0,
            saw_deletion: false,
        }
    }

    /// Takes the file system's present use into account.
    pub(super) fn observe(&mut self, used: u64) {
        let added = used.saturating_sub(self.used);
        self.saw_deletion |= used < self.used;
        self.growth = self.growth.saturating_add(added);
        self.total_growth = self.total_growth.saturating_add(added);
        self.used = used;
    }

    /// Takes a successful allocation into account, which deletions by others could hide.
    pub(super) fn allocate(&mut self, bytes: u64) {
        self.allocated = self.allocated.saturating_add(bytes);
    }

    /// The most that the layer can take, if nothing hid its growth.
    pub(super) fn upper_bound(&self) -> u64 {
        let growth = match self.saw_deletion {
            true => self.growth.max(self.allocated),
            false => self.growth,
        };
        self.measured.saturating_add(growth)
    }

    pub(super) fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.upper_bound())
    }

    /// The amount by which the layer may be beyond its limit.
    pub(super) fn excess(&self) -> u64 {
        self.upper_bound().saturating_sub(self.limit)
    }

    pub(super) fn is_full(&self) -> bool {
        self.excess() > 0
    }

    /// True if a new measurement may lower the bound.
    pub(super) fn may_be_lower(&self) -> bool {
        self.growth > 0 || self.saw_deletion
    }

    /// The part of the growth that a measurement does not explain.
    pub(super) fn unexplained(&self, measured: u64) -> u64 {
        self.upper_bound().saturating_sub(measured)
    }

    /// Replaces the bound by a measurement. `used` is the file system's use just before it, so that
    /// bytes written meanwhile count twice rather than not at all.
    pub(super) fn replace(&mut self, measured: u64, used: u64) {
        self.measured = measured;
        self.growth = 0;
        self.allocated = 0;
        self.used = used;
        self.saw_deletion = false;
    }

    /// Raises the bound to a measurement that may have missed something.
    pub(super) fn raise(&mut self, measured: u64) {
        self.growth = self.growth.max(measured.saturating_sub(self.measured));
        self.saw_deletion = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_by_others_never_lower_the_bound() {
        let mut bound = UsageBound::new(100, 1000);
        bound.observe(1060);
        bound.observe(900);
        assert!(bound.saw_deletion);
        assert_eq!((bound.upper_bound(), bound.remaining()), (60, 40));
        bound.observe(960);
        assert!(bound.is_full());
        assert_eq!(bound.unexplained(20), 100);
        bound.replace(20, 950);
        bound.observe(960);
        assert_eq!(bound.upper_bound(), 30);
        assert_eq!(bound.total_growth, 130);
    }

    #[test]
    fn deletions_by_others_do_not_hide_allocations() {
        let mut bound = UsageBound::new(100, 1000);
        bound.allocate(90);
        bound.observe(1010);
        assert_eq!(bound.upper_bound(), 10);
        bound.observe(1000);
        assert_eq!((bound.upper_bound(), bound.remaining()), (90, 10));
        assert!(bound.may_be_lower());
        bound.replace(30, 1000);
        bound.observe(990);
        assert_eq!(bound.upper_bound(), 30);
    }

    #[test]
    fn an_uncertain_measurement_only_raises_the_bound() {
        let mut bound = UsageBound::new(100, 1000);
        bound.observe(1030);
        bound.raise(10);
        assert_eq!(bound.upper_bound(), 30);
        bound.raise(90);
        assert_eq!(bound.upper_bound(), 90);
    }
}
