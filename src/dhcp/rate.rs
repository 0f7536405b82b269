//! How often somebody is listened to, in memory that no flood can grow.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A token bucket.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// How much a bucket holds and how fast it fills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// So many at once.
    pub(crate) burst: u32,
    /// And then one in this time.
    pub(crate) every: Duration,
}

impl Rate {
    /// The time in which an empty bucket is full again.
    fn recovery(self) -> Duration {
        self.every.saturating_mul(self.burst)
    }

    fn take(self, bucket: &mut Bucket, now: Instant) -> bool {
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() / self.every.as_secs_f64().max(1e-9);
        bucket.tokens = (bucket.tokens + gained).min(f64::from(self.burst));
        bucket.filled = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }
}

/// One bucket for each key, for a bounded number of keys.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    capacity: usize,
    buckets: HashMap<K, Bucket>,
}

impl<K: Hash + Eq + Copy> Buckets<K> {
    pub(crate) fn new(rate: Rate, capacity: usize) -> Self {
        Self { rate, capacity, buckets: HashMap::new() }
    }

    /// Whether `key` may go on at `now`. When the table is full, buckets that have recovered make room; if there is none,
    /// newcomers wait.
    pub(crate) fn allow(&mut self, key: K, now: Instant) -> bool {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= self.capacity {
            let recovery = self.rate.recovery();
            self.buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled) < recovery);
            if self.buckets.len() >= self.capacity {
                return false;
            }
        }
        let full = Bucket { tokens: f64::from(self.rate.burst), filled: now };
        self.rate.take(self.buckets.entry(key).or_insert(full), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(2) };

    #[test]
    fn a_burst_passes_and_then_one_in_each_interval() {
        let mut buckets = Buckets::new(RATE, 8);
        let start = Instant::now();
        let allowed = |buckets: &mut Buckets<u8>, seconds| {
            (0..10).filter(|_| buckets.allow(1, start + Duration::from_secs(seconds))).count()
        };
        assert_eq!(allowed(&mut buckets, 0), 3);
        assert_eq!(allowed(&mut buckets, 1), 0);
        assert_eq!(allowed(&mut buckets, 2), 1);
        assert_eq!(allowed(&mut buckets, 60), 3);
        assert!(buckets.allow(2, start), "keys do not share");
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_passes_over() {
        let mut buckets = Buckets::new(RATE, 100);
        let start = Instant::now();
        assert_eq!((0..10_000u32).filter(|key| buckets.allow(*key, start)).count(), 100);
        assert_eq!(buckets.buckets.len(), 100);
        assert!(buckets.allow(50, start), "who is in stays in");
        assert!(buckets.allow(20_000, start + RATE.recovery()));
        assert_eq!(buckets.buckets.len(), 1);
    }
}
