//! A reader for the XML that VAMT writes, and for no more of XML.
//!
//! Its own, since little is wanted and much must be impossible: elements, attributes, text, the five entities that XML
//! itself defines and character references. A document type is refused where it stands, so there is nothing to expand and
//! nothing to fetch; depth and attributes are bounded; every fault has a line and a character.
//!
//! A parser from elsewhere (quick-xml) gives byte offsets and passes document types on; refusing those, the bounds, the
//! encodings and the places would be ours all the same, and the rest is a hundred lines.

use crate::activation::exchange::fault::{Position, Why};

/// Deeper than any export.
const MOST_DEPTH: usize = 64;
/// More than any export has in one element.
const MOST_ATTRIBUTES: usize = 256;
/// The longest reference: `&#x10FFFF;`.
const LONGEST_REFERENCE: usize = 12;

/// An attribute.
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) value: String,
    /// Where its value begins.
    pub(super) at: Position,
}

/// What comes next.
pub(super) enum Event<'a> {
    Open { name: &'a str, attributes: Vec<Attribute<'a>> },
    Text { text: String, at: Position },
    Close,
}

type Fault = (Position, Why);

/// The reader.
pub(super) struct Xml<'a> {
    rest: &'a str,
    at: Position,
    open: Vec<&'a str>,
    /// An empty element was opened and is still to be closed.
    empty: bool,
    root_seen: bool,
}

impl<'a> Xml<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, at: Position::START, open: Vec::new(), empty: false, root_seen: false }
    }

    /// The next event; none at the end of a whole document.
    pub(super) fn next(&mut self) -> Result<Option<Event<'a>>, Fault> {
        loop {
            if self.empty {
                self.empty = false;
                self.open.pop();
                return Ok(Some(Event::Close));
            }
            if self.rest.is_empty() {
                return if self.open.is_empty() && self.root_seen { Ok(None) } else { Err(self.fault(Why::CutOff)) };
            }
            if let Some(rest) = self.rest.strip_prefix("<!--") {
                self.pass("<!--".len() + end_of(rest, "-->").ok_or_else(|| self.fault(Why::CutOff))?);
            } else if self.rest.starts_with("<?") {
                self.pass(end_of(self.rest, "?>").ok_or_else(|| self.fault(Why::CutOff))?);
            } else if let Some(rest) = self.rest.strip_prefix("<![CDATA[") {
                let length = end_of(rest, "]]>").ok_or_else(|| self.fault(Why::CutOff))?;
                let at = self.at.after("<![CDATA[");
                let text = rest.get(..length - "]]>".len()).unwrap_or_default().to_owned();
                if self.open.is_empty() {
                    return Err(self.fault(Why::NotXml));
                }
                self.pass("<![CDATA[".len() + length);
                return Ok(Some(Event::Text { text, at }));
            } else if self.rest.starts_with("<!") {
                // <!DOCTYPE, and <!ENTITY outside of one.
                return Err(self.fault(Why::DocumentType));
            } else if self.rest.starts_with("</") {
                self.close()?;
                return Ok(Some(Event::Close));
            } else if self.rest.starts_with('<') {
                return self.open().map(Some);
            } else if let Some(event) = self.text()? {
                return Ok(Some(event));
            }
        }
    }

    /// Where the reader is.
    pub(super) fn position(&self) -> Position {
        self.at
    }

    fn fault(&self, why: Why) -> Fault {
        (self.at, why)
    }

    /// What is wrong when something else was expected here: at the end of the file it was cut off.
    fn unexpected(&self) -> Fault {
        self.fault(if self.rest.is_empty() { Why::CutOff } else { Why::NotXml })
    }

    fn pass(&mut self, bytes: usize) -> &'a str {
        let Some((passed, rest)) = self.rest.split_at_checked(bytes) else { return "" };
        self.at = self.at.after(passed);
        self.rest = rest;
        passed
    }

    fn pass_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        self.pass(length)
    }

    fn blanks(&mut self) {
        self.pass_while(|c| c.is_ascii_whitespace());
    }

    fn name(&mut self) -> Result<&'a str, Fault> {
        if !self.rest.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | ':')) {
            return Err(self.unexpected());
        }
        Ok(self.pass_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '-' | '.')))
    }

    fn expect(&mut self, what: &str) -> Result<(), Fault> {
        if !self.rest.starts_with(what) {
            return Err(self.unexpected());
        }
        self.pass(what.len());
        Ok(())
    }

    fn open(&mut self) -> Result<Event<'a>, Fault> {
        if self.root_seen && self.open.is_empty() {
            return Err(self.fault(Why::NotXml));
        }
        if self.open.len() >= MOST_DEPTH {
            return Err(self.fault(Why::TooDeep));
        }
        self.pass(1);
        let name = self.name()?;
        let mut attributes = Vec::new();
        loop {
            let before = self.rest.len();
            self.blanks();
            if self.rest.starts_with('>') {
                self.pass(1);
                break;
            }
            if self.rest.starts_with('/') {
                self.pass(1);
                self.expect(">")?;
                self.empty = true;
                break;
            }
            if before == self.rest.len() {
                return Err(self.unexpected());
            }
            if attributes.len() >= MOST_ATTRIBUTES {
                return Err(self.fault(Why::TooDeep));
            }
            attributes.push(self.attribute()?);
        }
        self.root_seen = true;
        self.open.push(name);
        Ok(Event::Open { name, attributes })
    }

    fn attribute(&mut self) -> Result<Attribute<'a>, Fault> {
        let name = self.name()?;
        self.blanks();
        self.expect("=")?;
        self.blanks();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or_else(|| self.unexpected())?;
        self.pass(1);
        let at = self.at;
        let raw = self.pass_while(|c| c != quote && c != '<');
        self.expect(if quote == '"' { "\"" } else { "'" })?;
        Ok(Attribute { name, value: plain(raw, at)?, at })
    }

    fn close(&mut self) -> Result<(), Fault> {
        let at = self.at;
        self.pass("</".len());
        let name = self.name()?;
        self.blanks();
        self.expect(">")?;
        if self.open.pop() == Some(name) { Ok(()) } else { Err((at, Why::NotXml)) }
    }

    fn text(&mut self) -> Result<Option<Event<'a>>, Fault> {
        let before = self.at;
        let raw = self.pass_while(|c| c != '<');
        let blank = raw.trim().is_empty();
        if self.open.is_empty() && !blank {
            return Err((before, Why::NotXml));
        }
        if blank {
            return Ok(None);
        }
        let at = before.after(raw.get(..raw.len() - raw.trim_start().len()).unwrap_or_default());
        Ok(Some(Event::Text { text: plain(raw, before)?, at }))
    }
}

/// The length up to and with `mark`.
fn end_of(text: &str, mark: &str) -> Option<usize> {
    text.find(mark).map(|at| at + mark.len())
}

/// The text with its references replaced.
fn plain(raw: &str, at: Position) -> Result<String, Fault> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, from)) = rest.split_once('&') {
        text.push_str(before);
        let reference = from.split_once(';').filter(|(name, _)| name.len() <= LONGEST_REFERENCE);
        let Some((c, after)) = reference.and_then(|(name, after)| Some((character(name)?, after))) else {
            let passed = raw.len() - from.len() - 1;
            return Err((at.after(raw.get(..passed).unwrap_or_default()), Why::Entity));
        };
        text.push(c);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?).filter(|c| !c.is_control() || c.is_ascii_whitespace())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The document in a short form; else where it is refused.
    fn read(text: &str) -> Result<String, (usize, usize, Why)> {
        let mut xml = Xml::new(text);
        let mut out = String::new();
        loop {
            match xml.next().map_err(|(at, why)| (at.line, at.character, why))? {
                None => return Ok(out),
                Some(Event::Open { name, attributes }) => {
                    out.push_str(&format!("({name}"));
                    for a in attributes {
                        out.push_str(&format!(" {}={}@{}:{}", a.name, a.value, a.at.line, a.at.character));
                    }
                }
                Some(Event::Text { text, at }) => {
                    out.push_str(&format!(" {}@{}:{}", text.trim(), at.line, at.character));
                }
                Some(Event::Close) => out.push(')'),
            }
        }
    }

    #[test]
    fn elements_attributes_and_text_have_their_places() {
        let text =
            "<?xml version='1.0'?>\n<!-- <x> -->\n<a b = \"1&amp;&#x32;\" c='>'>\n  x&lt;<d/><![CDATA[<&>]]></a >\n";
        assert_eq!(read(text), Ok("(a b=1&2@3:9 c=>@3:26 x<@4:3(d) <&>@4:21)".to_owned()));
    }

    #[test]
    fn what_is_hostile_or_broken_is_refused_where_it_stands() {
        let deep = "<a>".repeat(65);
        let wide = format!("<a{}>", " b=''".repeat(257));
        for (text, line, character, why) in [
            ("<?xml version='1.0'?>\n<!DOCTYPE a [<!ENTITY b 'c'>]>\n<a>&b;</a>", 2, 1, Why::DocumentType),
            ("<a>\n&b;</a>", 2, 1, Why::Entity),
            ("<a b='x&#0;'/>", 1, 8, Why::Entity),
            ("<a b='&amp'/>", 1, 7, Why::Entity),
            ("<a>\n<b></a>", 2, 4, Why::NotXml),
            ("<a>\n<b>", 2, 4, Why::CutOff),
            ("<a b=\"1", 1, 8, Why::CutOff),
            ("<a b=\"1\n<c/>", 2, 1, Why::NotXml),
            ("<a><!-- b", 1, 4, Why::CutOff),
            ("<a/><b/>", 1, 5, Why::NotXml),
            ("x", 1, 1, Why::NotXml),
            ("<a/>x", 1, 5, Why::NotXml),
            ("<1/>", 1, 2, Why::NotXml),
            ("<a b/>", 1, 5, Why::NotXml),
            ("<a b='1'c='2'/>", 1, 9, Why::NotXml),
            (&deep, 1, 193, Why::TooDeep),
            (&wide, 1, 2 + 5 * 256 + 2, Why::TooDeep),
        ] {
            assert_eq!(read(text), Err((line, character, why)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([<>/=&;!?'\"\\[\\]a-c #x1ß\n-]|<a|</a>|<!--|-->|<!\\[CDATA\\[|\\]\\]>){0,40}") {
            let _ = read(&text);
        }
    }
}
