//! Sizes and durations as people write them.

use std::time::Duration;

/// `100GB`, `240 GiB`, `1.5TB`: decimal units as on the box of a disk, binary ones with an `i`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let unit: u128 = match unit.trim().to_ascii_uppercase().as_str() {
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KIB" => 1 << 10,
        "MIB" => 1 << 20,
        "GIB" => 1 << 30,
        "TIB" => 1 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let thousandths = u128::from(whole.parse::<u64>().ok()?) * scale + u128::from(fraction.parse::<u64>().ok()?);
    u64::try_from(thousandths * unit / scale).ok()
}

/// `90s`, `2m`, `4h`, `1h 30m`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(unit_at)?;
        let after = after.trim_start();
        let word_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(word_end)?;
        let seconds = match unit.to_ascii_lowercase().as_str() {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(seconds)?)?;
        rest = after.trim_start();
    }
    Some(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("100GB", Some(100_000_000_000)),
            ("240 GiB", Some(240 << 30)),
            ("1.5TB", Some(1_500_000_000_000)),
            ("64 mb", Some(64_000_000)),
            ("100", None),
            ("GB", None),
            ("1.GB", None),
            ("1.2.3GB", None),
            ("-1GB", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("2m", Some(120)),
            ("4h", Some(14400)),
            ("1h 30m", Some(5400)),
            ("1h30min", Some(5400)),
            ("10", None),
            ("", None),
            ("ten minutes", None),
            ("5 days", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,20}", near in "[0-9]{0,25}[.]?[0-9]{0,8} ?[a-zA-ZäTGi]{0,4}") {
            for text in [text, near] {
                let _ = bytes(&text);
                let _ = duration(&text);
            }
        }
    }
}
