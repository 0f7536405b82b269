//! Codes as people and programs write them, in the middle of other text: `Fehler: 0xC004F074 Der …`, exit codes, numbers
//! of WMI.

use super::Code;

/// The codes in a text, each once, in the order in which they stand there.
///
/// Taken for a code are `0x` with up to eight digits (or 16 that begin with eight F, as 64-bit programs write negative
/// numbers), eight hexadecimal digits, and decimal numbers, signed or not, that are an error. Numbers which could be
/// anything else, such as a year, a day or a part of an activation ID, are not.
pub fn codes_in(text: &str) -> Vec<Code> {
    let mut found = Vec::new();
    for word in text.split(|c: char| !(c.is_alphanumeric() || c == '-')) {
        if let Some(code) = code_of(word.trim_end_matches('-'))
            && !found.contains(&code)
        {
            found.push(code);
        }
    }
    found
}

fn code_of(word: &str) -> Option<Code> {
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        let digits = match digits.len() {
            16 => digits.get(..8).filter(|high| high.eq_ignore_ascii_case("FFFFFFFF")).and(digits.get(8..))?,
            _ => digits,
        };
        return hexadecimal(digits);
    }
    if word.len() == 8
        && let Some(code) = hexadecimal(word)
    {
        return is_result(code).then_some(code);
    }
    let (negative, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let code = if negative { Code(word.parse::<i32>().ok()?.cast_unsigned()) } else { Code(word.parse().ok()?) };
    is_result(code).then_some(code)
}

fn hexadecimal(digits: &str) -> Option<Code> {
    let form = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if form { u32::from_str_radix(digits, 16).ok().map(Code) } else { None }
}

/// Whether a number without `0x` can only be a code: a failure (the top bit), or a state of the licensing service.
fn is_result(code: Code) -> bool {
    code.0 >> 31 == 1 || code.0 >> 12 == 0x4004F
}
