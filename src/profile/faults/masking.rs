//! Finds product keys in any text and masks them, so that nothing that comes after can repeat one.

use std::borrow::Cow;
use std::ops::Range;

use crate::activation::key::ProductKey;

/// Groups of a product key, and characters in a group.
const FIVE: usize = 5;

/// The most characters between two groups: a dash with a blank at either side.
const WIDEST_GAP: usize = 3;

/// The places of product keys in `text`, in bytes, in order and apart: five groups of five letters and digits, however
/// they are parted, and 25 of them in one piece. What only looks like a key counts too, since it may be one with a typing
/// error; keys that share a group are one place.
pub fn find(text: &str) -> Vec<Range<usize>> {
    let words = words(text);
    let mut found: Vec<Range<usize>> = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let one_piece = text.get(word.clone()).is_some_and(|word| word.len() == FIVE * FIVE && is_key(&grouped(word)));
        let range = match words.get(i..i + FIVE) {
            _ if one_piece => Some(word.clone()),
            Some(groups) => five_groups(text, groups),
            None => None,
        };
        match (range, found.last_mut()) {
            (Some(range), Some(last)) if range.start < last.end => last.end = last.end.max(range.end),
            (Some(range), _) => found.push(range),
            (None, _) => {}
        }
    }
    found
}

/// `text` with every character of a product key but its dashes replaced by `X`: as long as before, and still YAML.
pub fn mask(text: &str) -> Cow<'_, str> {
    let found = find(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut keys = found.iter().peekable();
    let masked = text.char_indices().map(|(at, c)| {
        while keys.next_if(|key| key.end <= at).is_some() {}
        let inside = keys.peek().is_some_and(|key| key.contains(&at));
        if inside && c.is_ascii_alphanumeric() { 'X' } else { c }
    });
    Cow::Owned(masked.collect())
}

/// The runs of letters and digits. A letter beyond ASCII is part of a run too, which then is no group of a key.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphanumeric() || *c == '_') {
        match words.last_mut() {
            Some(last) if last.end == at => last.end = at + c.len_utf8(),
            _ => words.push(at..at + c.len_utf8()),
        }
    }
    words
}

fn five_groups(text: &str, groups: &[Range<usize>]) -> Option<Range<usize>> {
    let mut dashes_only = true;
    for pair in groups.windows(2) {
        let [left, right] = pair else { return None };
        let gap = text.get(left.end..right.start)?;
        let dash = |c: char| c == '-' || matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}');
        if gap.chars().count() > WIDEST_GAP || !gap.chars().all(|c| dash(c) || c == ' ') {
            return None;
        }
        dashes_only &= gap.chars().all(dash);
    }
    let texts: Option<Vec<&str>> = groups.iter().map(|group| text.get(group.clone())).collect();
    let texts = texts?;
    if !texts.iter().all(|group| group.len() == FIVE && group.bytes().all(|b| b.is_ascii_alphanumeric())) {
        return None;
    }
    let key = texts.join("-");
    // With dashes a digit is enough of a sign; five words of five letters in a sentence are not a key.
    let looks_so = dashes_only && key.bytes().any(|b| b.is_ascii_digit());
    let range = groups.first()?.start..groups.last()?.end;
    (is_key(&key) || (looks_so && !is_placeholder(&key))).then_some(range)
}

fn is_key(text: &str) -> bool {
    !is_placeholder(text) && ProductKey::parse(text).is_ok()
}

/// `XXXXX-XXXXX-…` and the like.
fn is_placeholder(text: &str) -> bool {
    let mut characters = text.bytes().filter(|b| *b != b'-').map(|b| b.to_ascii_uppercase());
    let first = characters.next();
    characters.all(|b| Some(b) == first)
}

fn grouped(word: &str) -> String {
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(FIVE).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Made up for this test; the form of a key is all that it has.
    const KEY: &str = "BCDFG-HJKMP-QRTVW-XY234-6789B";

    #[test]
    fn keys_are_found_in_every_dress() {
        let lower = KEY.to_lowercase();
        let dashes = KEY.replace('-', "\u{2013}");
        let blanks = KEY.replace('-', " ");
        let wide = KEY.replace('-', " - ");
        let joined = KEY.replace('-', "");
        let mistyped = KEY.replace('B', "0");
        for key in [KEY, &lower, &dashes, &blanks, &wide, &joined, &mistyped] {
            let text = format!("# the key is: \"{key}\", ä");
            let masked = mask(&text);
            assert!(masked.contains("XXXXX"), "{key}");
            assert_eq!(masked.chars().count(), text.chars().count());
            assert!(!masked.contains("234"), "{masked}");
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in [
            "XXXXX-XXXXX-XXXXX-XXXXX-XXXXX",
            "4c4c4544-0042-4a10-8052-b4c04f513233",
            "52:54:00:12:34:56",
            "every night there those words stand",
            "aaaaa-bbbbb-ccccc-ddddd-eeeee",
            "BCDFG-HJKMP-QRTVW-XY234",
            "ÄBCDFG-HJKMP-QRTVW-XY234-6789B",
        ] {
            assert_eq!(mask(text), text);
        }
    }

    proptest! {
        #[test]
        fn a_masked_text_has_no_key(before in "\\PC{0,20}", after in "\\PC{0,20}", key in "([B-DF-HJKMP2346789]{5}-){4}[B-DF-HJKMP2346789]{5}") {
            let text = format!("{before} {key} {after}");
            let masked = mask(&text);
            prop_assert!(find(&masked).is_empty());
            prop_assert_eq!(masked.chars().count(), text.chars().count());
        }
    }
}
