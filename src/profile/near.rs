//! Guesses which name was meant.

/// A guess is worth no more time than this; there are about 600 time zones.
const MOST_CANDIDATES: usize = 1000;

/// The candidate that differs least from `word`, if it differs little enough to be a typing error.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = folded(word);
    let most = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .take(MOST_CANDIDATES)
        .map(|candidate| (folded(candidate), candidate))
        .filter(|(letters, _)| letters.len().abs_diff(word.len()) <= most)
        .map(|(letters, candidate)| (distance(&word, &letters), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Case and the kind of hyphen are the commonest slips.
fn folded(word: &str) -> Vec<char> {
    word.chars().take(64).map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Insertions, deletions, replacements and exchanges of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], k: usize| row.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut least = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let exchanged = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if exchanged {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let fields = ["activation", "schedule", "machines", "mac"];
        assert_eq!(nearest("activaton", fields).as_deref(), Some("activation"));
        assert_eq!(nearest("Schedule", fields).as_deref(), Some("schedule"));
        assert_eq!(nearest("mca", fields).as_deref(), Some("mac"));
        assert_eq!(nearest("colour", fields), None);
        assert_eq!(nearest("", fields), None);
    }
}
