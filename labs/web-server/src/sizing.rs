//! When a worker is hired, and when one is retired. There are no threads and no clock in here: the caller gives the
//! time.

use std::time::{Duration, Instant};

/// The rule. A queue that is nearly full needs another worker now. A queue that is nearly empty may fill again soon.
#[derive(Clone, Copy, Debug)]
pub struct Sizing {
    /// How many jobs the queue holds.
    pub capacity: usize,
    /// How many workers there may be; at least one.
    pub max_workers: usize,
    /// How long the queue must have been nearly empty before a worker retires, and again before the next.
    pub cooldown: Duration,
    low_since: Option<Instant>,
}

impl Sizing {
    /// Makes the rule with these figures.
    pub fn new(capacity: usize, max_workers: usize, cooldown: Duration) -> Self {
        Sizing { capacity, max_workers, cooldown, low_since: None }
    }

    /// Whether to hire another worker, when a job has come and the queue has this length now. From 80 percent on, each
    /// job brings a worker.
    pub fn hires(&self, queue: usize, workers: usize) -> bool {
        workers < self.max_workers && 5 * queue >= 4 * self.capacity
    }

    /// Notes how long the queue is now.
    pub fn observe(&mut self, now: Instant, queue: usize) {
        if 5 * queue > self.capacity {
            self.low_since = None;
        } else if self.low_since.is_none() {
            self.low_since = Some(now);
        }
    }

    /// Whether to retire a worker. Yes, when the queue has been at 20 percent or less for the cooldown; but the first
    /// stays.
    pub fn retires(&mut self, now: Instant, workers: usize) -> bool {
        let low = self.low_since.is_some_and(|since| now - since >= self.cooldown);
        if low && workers > 1 {
            self.low_since = Some(now); // the next one needs another cooldown
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(2);

    fn sizing() -> Sizing {
        Sizing::new(10, 4, COOLDOWN)
    }

    #[test]
    fn a_nearly_full_queue_hires_up_to_the_most() {
        let sizing = sizing();
        for queue in 0..8 {
            assert!(!sizing.hires(queue, 1), "{queue}");
        }
        for queue in 8..=10 {
            assert!(sizing.hires(queue, 3), "{queue}");
            assert!(!sizing.hires(queue, 4), "{queue}");
        }
    }

    #[test]
    fn a_nearly_empty_queue_retires_one_for_each_cooldown_and_never_the_first() {
        let start = Instant::now();
        let mut sizing = sizing();
        sizing.observe(start, 2);
        assert!(!sizing.retires(start + COOLDOWN - Duration::from_nanos(1), 3));
        assert!(sizing.retires(start + COOLDOWN, 3));
        assert!(!sizing.retires(start + COOLDOWN, 2), "not at once");
        assert!(sizing.retires(start + 2 * COOLDOWN, 2));
        assert!(!sizing.retires(start + 10 * COOLDOWN, 1), "the first stays");
    }

    #[test]
    fn to_be_nearly_empty_has_to_last() {
        let start = Instant::now();
        let mut sizing = sizing();
        sizing.observe(start, 0);
        sizing.observe(start + COOLDOWN / 2, 3);
        assert!(!sizing.retires(start + 2 * COOLDOWN, 2), "it was not, in between");
        sizing.observe(start + 2 * COOLDOWN, 2);
        sizing.observe(start + 3 * COOLDOWN, 1);
        assert!(sizing.retires(start + 3 * COOLDOWN, 2), "it counts from the first time");
    }

    #[test]
    fn a_queue_of_one_is_full_with_one_and_empty_with_none() {
        let start = Instant::now();
        let mut sizing = Sizing::new(1, 2, COOLDOWN);
        assert!(sizing.hires(1, 1) && !sizing.hires(0, 1));
        sizing.observe(start, 1);
        assert!(!sizing.retires(start + COOLDOWN, 2));
        sizing.observe(start, 0);
        assert!(sizing.retires(start + COOLDOWN, 2));
    }
}
