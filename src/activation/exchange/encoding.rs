//! From bytes to text: what Windows' programs and spreadsheets write.

use std::borrow::Cow;

use crate::activation::exchange::fault::{Position, RowFault, Why};

/// How the text was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    Utf8,
    /// UTF-16, little end first: Windows' "Unicode".
    Utf16Le,
    /// UTF-16, big end first.
    Utf16Be,
    /// Windows-1252, and with it Latin-1: Windows' "ANSI" in western Europe.
    Windows1252,
}

impl Encoding {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "UTF-8",
            Encoding::Utf16Le => "UTF-16LE",
            Encoding::Utf16Be => "UTF-16BE",
            Encoding::Windows1252 => "Windows-1252",
        }
    }
}

/// The bytes 0x80 to 0x9F of Windows-1252; 0 where there is no character.
/// Source: unicode.org/Public/MAPPINGS/VENDORS/MICSFT/WINDOWS/CP1252.TXT.
const HIGH: [u16; 32] = [
    0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0, 0,
    0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e, 0x0178,
];

/// Zip files (`.xlsx`, `.ods`) and the older compound files (`.xls`).
const WORKBOOKS: [&[u8]; 2] = [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"];

/// The text of a file, without its byte order mark. What it is written in is seen from the bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<(Cow<'_, str>, Encoding), RowFault> {
    if WORKBOOKS.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(Position::START.fault(Why::Workbook));
    }
    let (text, encoding) = if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        (utf8(rest)?, Encoding::Utf8)
    } else if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        (Cow::Owned(utf16(rest, Encoding::Utf16Le)?), Encoding::Utf16Le)
    } else if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        (Cow::Owned(utf16(rest, Encoding::Utf16Be)?), Encoding::Utf16Be)
    } else if let Some(encoding) = unmarked_utf16(bytes) {
        (Cow::Owned(utf16(bytes, encoding)?), encoding)
    } else if let Ok(text) = std::str::from_utf8(bytes) {
        (Cow::Borrowed(text), Encoding::Utf8)
    } else {
        match declared(bytes).as_deref() {
            Some("utf-8" | "utf8") => (utf8(bytes)?, Encoding::Utf8),
            None | Some("windows-1252" | "iso-8859-1" | "iso-8859-15" | "latin1" | "us-ascii") => {
                (Cow::Owned(windows_1252(bytes)?), Encoding::Windows1252)
            }
            Some(_) => return Err(Position::START.fault(Why::UnknownEncoding)),
        }
    };
    match text.char_indices().find(|(_, c)| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r')) {
        Some((at, c)) => Err(after(&text, at).fault(Why::Control(c.into()))),
        None => Ok((text, encoding)),
    }
}

fn after(text: &str, bytes: usize) -> Position {
    Position::START.after(text.get(..bytes).unwrap_or(text))
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, RowFault> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).and_then(|good| std::str::from_utf8(good).ok());
        Position::START.after(good.unwrap_or_default()).fault(Why::NotInEncoding(Encoding::Utf8))
    })
}

fn utf16(bytes: &[u8], encoding: Encoding) -> Result<String, RowFault> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| match encoding {
        Encoding::Utf16Be => u16::from_be_bytes(*pair),
        _ => u16::from_le_bytes(*pair),
    });
    let mut text = String::with_capacity(pairs.len());
    let mut whole = odd.is_empty();
    for c in char::decode_utf16(units) {
        match c {
            Ok(c) => text.push(c),
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    if whole { Ok(text) } else { Err(after(&text, text.len()).fault(Why::NotInEncoding(encoding))) }
}

/// UTF-16 without a byte order mark: in our files nearly every second byte is zero.
fn unmarked_utf16(bytes: &[u8]) -> Option<Encoding> {
    let (pairs, _) = bytes.get(..64).unwrap_or(bytes).as_chunks::<2>();
    let (first, second) = pairs
        .iter()
        .fold((0, 0), |(first, second), [a, b]| (first + usize::from(*a == 0), second + usize::from(*b == 0)));
    let most = |zeros: usize, others: usize| pairs.len() >= 4 && others == 0 && zeros * 10 >= pairs.len() * 9;
    if most(second, first) {
        Some(Encoding::Utf16Le)
    } else if most(first, second) {
        Some(Encoding::Utf16Be)
    } else {
        None
    }
}

fn windows_1252(bytes: &[u8]) -> Result<String, RowFault> {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        let c = match byte {
            0x80..=0x9f => HIGH.get(usize::from(byte - 0x80)).and_then(|c| char::from_u32(u32::from(*c))),
            other => Some(char::from(*other)),
        };
        match c {
            Some(c) if c != '\0' => text.push(c),
            _ if *byte == 0 => text.push('\0'),
            _ => return Err(after(&text, text.len()).fault(Why::NotInEncoding(Encoding::Windows1252))),
        }
    }
    Ok(text)
}

/// What an XML declaration says, in lower case.
fn declared(bytes: &[u8]) -> Option<String> {
    let head: String = bytes.iter().take(200).map(|byte| char::from(*byte)).collect();
    let declaration = head.trim_start().strip_prefix("<?xml")?.split("?>").next()?;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value.get(1..)?.split(quote).next().map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utf16_of(text: &str, encoding: Encoding) -> Vec<u8> {
        text.encode_utf16()
            .flat_map(|unit| if encoding == Encoding::Utf16Be { unit.to_be_bytes() } else { unit.to_le_bytes() })
            .collect()
    }

    #[test]
    fn the_encodings_of_windows_read_the_same() {
        let text = "Gerät;iid\r\nBüro-01;1 \u{20ac}\r\n";
        let mut latin: Vec<u8> = text.replace('\u{20ac}', "").chars().map(|c| c as u8).collect();
        latin.insert(latin.len() - 2, 0x80);
        let mut cases = vec![(text.as_bytes().to_vec(), Encoding::Utf8), (latin, Encoding::Windows1252)];
        cases.push(([b"\xef\xbb\xbf", text.as_bytes()].concat(), Encoding::Utf8));
        for (encoding, mark) in [(Encoding::Utf16Le, b"\xff\xfe"), (Encoding::Utf16Be, b"\xfe\xff")] {
            let bare = utf16_of(text, encoding);
            cases.push(([mark.as_slice(), &bare].concat(), encoding));
            cases.push((bare, encoding));
        }
        for (bytes, encoding) in cases {
            assert_eq!(decode(&bytes), Ok((Cow::Borrowed(text), encoding)), "{encoding:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_where_it_begins() {
        let refused = |bytes: &[u8]| decode(bytes).map(|_| ()).map_err(|f| (f.line, f.character, f.why));
        assert_eq!(refused(b"a\nbc\0d"), Err((2, 3, Why::Control(0))));
        assert_eq!(refused(b"\xef\xbb\xbfa\r\nb\xff"), Err((2, 2, Why::NotInEncoding(Encoding::Utf8))));
        assert_eq!(refused(b"<?xml encoding='UTF-8'?>\xe4"), Err((1, 25, Why::NotInEncoding(Encoding::Utf8))));
        assert_eq!(refused(b"<?xml encoding='koi8-r'?>\xe4"), Err((1, 1, Why::UnknownEncoding)));
        assert_eq!(refused(b"ok\n\xe4\x81"), Err((2, 2, Why::NotInEncoding(Encoding::Windows1252))));
        assert_eq!(refused(b"\xff\xfea\0b"), Err((1, 2, Why::NotInEncoding(Encoding::Utf16Le))));
        assert_eq!(refused(b"\xff\xfea\0\0\xd8b\0"), Err((1, 2, Why::NotInEncoding(Encoding::Utf16Le))));
        assert_eq!(refused(b"PK\x03\x04rest"), Err((1, 1, Why::Workbook)));
        assert_eq!(refused(&[0; 100]), Err((1, 1, Why::Control(0))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
