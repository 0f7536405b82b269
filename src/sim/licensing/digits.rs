//! Numbers for simulated PCs: the same every time, spread like real ones, with right check digits.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::activation::confirmation::check_digit;

fn hash(parts: &[&str], counter: u32) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(counter.to_le_bytes());
    hasher.finalize().into()
}

/// `groups` groups of `size` digits each, the last of each its check digit.
pub(in crate::sim) fn grouped_digits(parts: &[&str], groups: usize, size: usize) -> String {
    let mut digits = (0u32..).flat_map(|counter| hash(parts, counter)).map(|byte| char::from(b'0' + byte % 10));
    let mut text = String::with_capacity(groups * size);
    for _ in 0..groups {
        let body: String = digits.by_ref().take(size.saturating_sub(1)).collect();
        let check = char::from(b'0' + check_digit(&body));
        text.push_str(&body);
        text.push(check);
    }
    text
}

/// A GUID.
pub(in crate::sim) fn guid(parts: &[&str]) -> String {
    let hex = data_encoding::HEXLOWER.encode(&hash(parts, 0));
    [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| hex.get(from..to).unwrap_or_default()).join("-")
}

/// An extended product ID: it ends in the build and the day on which the key was installed.
pub(in crate::sim) fn extended_product_id(
    activation_id: &str,
    partial_key: &str,
    build: u32,
    since: Timestamp,
) -> String {
    let digits = grouped_digits(&["extended product ID", activation_id, partial_key], 1, 20);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
    let day = since.to_zoned(TimeZone::UTC).date();
    let (a, b, c) = (part(0, 5), part(5, 8), part(8, 14));
    format!("00000-{a}-{b}-{c}-03-1031-{build}.0000-{:03}{}", day.day_of_year(), day.year())
}
