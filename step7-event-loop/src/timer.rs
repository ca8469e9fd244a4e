//! Timers: callbacks that are due at a time.
//!
//! They stand in an ordered map, next due first; those due at the same instant in the order in which they were started.
//! The nearest of them is what bounds the loop's sleep.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::trace_span;

use crate::Loop;
use crate::slab::{Key, Slab};

/// A timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(Key);

type OnTimer<S> = Box<dyn FnMut(&mut Loop<S>, &mut S, TimerId)>;

struct Timer<S> {
    due: Due,
    repeat: Option<Duration>,
    /// Empty while the callback runs.
    on_timer: Option<OnTimer<S>>,
}

/// When, and of those at the same instant, which first.
type Due = (Instant, u64);

/// All timers of a loop.
pub(crate) struct Timers<S> {
    timers: Slab<Timer<S>>,
    queue: BTreeMap<Due, TimerId>,
    started: u64,
}

impl<S> Timers<S> {
    pub(crate) fn new() -> Self {
        Timers { timers: Slab::new(), queue: BTreeMap::new(), started: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.timers.len()
    }

    /// When the next timer is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(&(due, _), _)| due)
    }

    fn next_in_order(&mut self, due: Instant) -> Due {
        self.started += 1;
        (due, self.started)
    }
}

impl<S: 'static> Loop<S> {
    /// Calls `on_timer` when `delay` is over, and then, if `repeat` is given, again and again at that interval.
    ///
    /// Times count from [`Loop::now`], which a callback that computes for a while leaves behind. A callback may come late,
    /// when others before it took long, but never before its time. Lateness does not add up: each tick is due one interval after the
    /// last was *due*, and ticks that were missed altogether are left out. An interval of zero counts as 1 ms.
    pub fn timer_start(
        &mut self,
        delay: Duration,
        repeat: Option<Duration>,
        on_timer: impl FnMut(&mut Loop<S>, &mut S, TimerId) + 'static,
    ) -> TimerId {
        let due = self.timers.next_in_order(later(self.now, delay));
        let repeat = repeat.map(|interval| interval.max(Duration::from_millis(1)));
        let timer = Timer { due, repeat, on_timer: Some(Box::new(on_timer)) };
        let id = TimerId(self.timers.timers.insert(timer));
        self.timers.queue.insert(due, id);
        id
    }

    /// Stops a timer; whether there was one to stop. A one-shot timer is stopped when its callback is called.
    pub fn timer_stop(&mut self, id: TimerId) -> bool {
        let Some(timer) = self.timers.timers.remove(id.0) else { return false };
        self.timers.queue.remove(&timer.due);
        true
    }

    /// When the timer is due next; `None` if it has been stopped.
    pub fn timer_due(&self, id: TimerId) -> Option<Instant> {
        Some(self.timers.timers.get(id.0)?.due.0)
    }

    /// Phase 2 of a turn. The due timers are listed first, so that one which is started or re-armed by a callback waits
    /// for the next turn, however soon it is due: otherwise timers could keep the loop from ever getting to its I/O.
    pub(crate) fn run_due_timers(&mut self, state: &mut S) {
        let due: Vec<_> =
            self.timers.queue.range(..=(self.now, u64::MAX)).map(|(_, &id)| id).collect();
        for id in due {
            // One of the callbacks before may have stopped it.
            let Some(timer) = self.timers.timers.get_mut(id.0) else { continue };
            let Some(mut on_timer) = timer.on_timer.take() else { continue };
            let (due, repeat) = (timer.due, timer.repeat);
            self.timers.queue.remove(&due);
            match repeat {
                // Re-armed before the call, so that the callback may stop it.
                Some(interval) => {
                    let due = self.timers.next_in_order(next_tick(due.0, interval, self.now));
                    self.timers.queue.insert(due, id);
                    if let Some(timer) = self.timers.timers.get_mut(id.0) {
                        timer.due = due;
                    }
                }
                None => drop(self.timers.timers.remove(id.0)),
            }
            trace_span!("on_timer").in_scope(|| on_timer(self, state, id));
            if let Some(timer) = self.timers.timers.get_mut(id.0) {
                timer.on_timer = Some(on_timer);
            }
        }
    }
}

/// The first tick after `now` of those that lie one `interval` apart, counted from `due`.
fn next_tick(due: Instant, interval: Duration, now: Instant) -> Instant {
    let missed = now.saturating_duration_since(due).as_nanos() / interval.as_nanos();
    let ticks = u32::try_from(missed + 1).unwrap_or(u32::MAX);
    later(due, interval.saturating_mul(ticks))
}

/// A time beyond what the clock can express (centuries) is as good as never.
fn later(time: Instant, delay: Duration) -> Instant {
    time.checked_add(delay).unwrap_or(time + Duration::from_secs(1 << 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_were_missed_are_left_out() {
        let due = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(next_tick(due, second, due), due + second);
        assert_eq!(next_tick(due, second, due + second / 2), due + second);
        assert_eq!(next_tick(due, second, due + second * 7 / 2), due + second * 4);
        assert!(next_tick(due, Duration::MAX, due) > due + second);
    }
}
