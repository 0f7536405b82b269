//! How long to wait before sending again: measured, as in RFC 6298, with a floor fit for a school's LAN.
//!
//! A boot loader's own timer is a second or more, so on a link that loses one packet in a hundred the server's patience
//! decides how long a boot takes.

use std::time::Duration;

/// Below this even a loader that polls its card every 10 ms would be asked twice.
const FLOOR: Duration = Duration::from_millis(25);

/// What repeated silence makes of the wait at most, unless the client asked for more.
const LONGEST: Duration = Duration::from_secs(4);

/// The measured round trip of one client.
#[derive(Debug, Clone)]
pub struct RoundTrip {
    smooth: Option<(Duration, Duration)>,
    ceiling: Duration,
    doublings: u32,
}

impl RoundTrip {
    /// Nothing measured yet: the wait is `ceiling`.
    pub fn new(ceiling: Duration) -> Self {
        Self { smooth: None, ceiling: ceiling.max(FLOOR), doublings: 0 }
    }

    /// A round trip of something that was sent once only (Karn's rule: else nobody knows which one was answered).
    pub fn measured(&mut self, sample: Duration) {
        self.doublings = 0;
        self.smooth = Some(match self.smooth {
            None => (sample, sample / 2),
            Some((mean, deviation)) => {
                let off = mean.abs_diff(sample);
                ((mean * 7 + sample) / 8, (deviation * 3 + off) / 4)
            }
        });
    }

    /// Nothing came back. The longer wait stays until something is measured again.
    pub fn back_off(&mut self) {
        self.doublings = self.doublings.saturating_add(1).min(16);
    }

    /// The wait before sending again.
    pub fn wait(&self) -> Duration {
        self.plain_wait().saturating_mul(1 << self.doublings).min(self.ceiling.max(LONGEST))
    }

    /// The wait as measured, without what silence added: an answer that comes later than this was provoked by silence.
    pub fn plain_wait(&self) -> Duration {
        let measured = self.smooth.map(|(mean, deviation)| mean.saturating_add(deviation.saturating_mul(4)));
        measured.unwrap_or(self.ceiling).clamp(FLOOR, self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::tftp::round_trip::RoundTrip;

    #[test]
    fn the_wait_follows_what_is_measured_and_silence_doubles_it() {
        let millis = Duration::from_millis;
        let mut round_trip = RoundTrip::new(Duration::from_secs(1));
        assert_eq!(round_trip.wait(), millis(1000));
        round_trip.measured(millis(20));
        assert_eq!(round_trip.wait(), millis(60));
        for _ in 0..100 {
            round_trip.measured(millis(1));
        }
        assert_eq!(round_trip.wait(), millis(25));
        let waits: Vec<_> = (0..10)
            .map(|_| {
                round_trip.back_off();
                round_trip.wait().as_millis()
            })
            .collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 4000, 4000, 4000]);
        round_trip.measured(millis(500));
        assert!(round_trip.wait() <= Duration::from_secs(1));
    }
}
