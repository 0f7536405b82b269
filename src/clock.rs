//! Time as something that is handed in, so that tests and the simulator decide what time it is.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// The wall-clock time.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
        Timestamp::now()
    }
}

/// A clock that stands still until it is moved; its copies show the same time. Tests and the simulator live by it.
#[derive(Debug, Clone)]
pub struct VirtualClock(Arc<Mutex<Timestamp>>);

/// The name of [`VirtualClock`] where it is only moved by hand.
pub type ManualClock = VirtualClock;

impl VirtualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// Moves the hands forward.
    pub fn advance(&self, by: Duration) {
        self.change(|now| now.checked_add(by).unwrap_or(Timestamp::MAX));
    }

    /// Moves the hands forward to `then`; a time that has passed moves nothing. Tells what the clock shows now.
    pub fn advance_to(&self, then: Timestamp) -> Timestamp {
        self.change(|now| now.max(then))
    }

    /// Puts the hands to `then`, backwards too: what a wrong clock, or one that was set right, does.
    pub fn set(&self, then: Timestamp) {
        self.change(|_| then);
    }

    fn change(&self, change: impl FnOnce(Timestamp) -> Timestamp) -> Timestamp {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = change(*now);
        *now
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_clock_goes_back_only_when_it_is_set() {
        fn shared<T: Send + Sync + Clone>(_: &T) {}
        let time = |text: &str| text.parse::<Timestamp>().expect("time");
        let clock = VirtualClock::new(time("2026-11-24T02:00:00Z"));
        shared(&clock);
        let other = clock.clone();
        clock.advance(Duration::from_secs(60));
        assert_eq!(other.now(), time("2026-11-24T02:01:00Z"));
        assert_eq!(clock.advance_to(time("2026-11-24T01:00:00Z")), time("2026-11-24T02:01:00Z"));
        assert_eq!(clock.advance_to(time("2026-11-25T01:00:00Z")), other.now());
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
        other.set(time("2020-01-01T00:00:00Z"));
        assert_eq!(clock.now(), time("2020-01-01T00:00:00Z"));
    }
}
