//! CSV as spreadsheets write it: quoted fields, a byte order mark, any line end, comma, semicolon or tab.

/// A line of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The number of its first line in the file, from 1.
    pub(super) line: usize,
    pub(super) fields: Vec<String>,
    /// A quote was opened and never closed.
    pub(super) unclosed: bool,
}

/// Puts a field into quotes, and in front of what a spreadsheet would run as a formula an apostrophe.
pub(super) fn quote(field: &str) -> String {
    let guard = if field.starts_with(FORMULA) { "'" } else { "" };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

/// What starts a formula (OWASP, CSV injection).
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// The field without our guard and without blanks around it.
pub(super) fn unguard(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('\'').filter(|rest| !rest.is_empty()).unwrap_or(field)
}

/// The most frequent separator of the first line that is not blank, outside of quotes.
fn separator(text: &str) -> char {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut quoted = false;
    let mut counts = [(';', 0usize), (',', 0), ('\t', 0)];
    for c in first.chars() {
        quoted ^= c == '"';
        if let Some(count) = counts.iter_mut().find(|(separator, _)| *separator == c && !quoted) {
            count.1 += 1;
        }
    }
    counts.iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > 0).map_or(',', |(c, _)| *c)
}

/// The lines that are not blank.
pub(super) fn records(text: &str) -> Vec<Record> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let separator = separator(text);
    let mut records = Vec::new();
    let mut line = 1;
    let mut record = Record { line, fields: Vec::new(), unclosed: false };
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let line_end = c == '\n' || (c == '\r' && chars.peek() != Some(&'\n'));
        if quoted {
            match c {
                '"' if chars.peek() == Some(&'"') => {
                    chars.next();
                    field.push('"');
                }
                '"' => quoted = false,
                other => field.push(other),
            }
            line += usize::from(line_end);
        } else if line_end {
            line += 1;
            record.fields.push(std::mem::take(&mut field));
            records.push(std::mem::replace(&mut record, Record { line, fields: Vec::new(), unclosed: false }));
        } else if c == separator {
            record.fields.push(std::mem::take(&mut field));
        } else if c == '"' && field.trim().is_empty() {
            field.clear();
            quoted = true;
        } else if c != '\r' {
            field.push(c);
        }
    }
    record.fields.push(field);
    record.unclosed = quoted;
    records.push(record);
    records.retain(|record| record.unclosed || record.fields.iter().any(|field| !field.trim().is_empty()));
    records
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &str) -> Vec<Vec<String>> {
        records(text).into_iter().map(|record| record.fields).collect()
    }

    #[test]
    fn the_forms_of_spreadsheets() {
        let expected = vec![vec!["a".to_owned(), "b\"c".to_owned()], vec!["1".to_owned(), "x;y".to_owned()]];
        for text in ["a;\"b\"\"c\"\r\n1;\"x;y\"\r\n", "\u{feff}a;\"b\"\"c\"\n\n1; \"x;y\"", "a;\"b\"\"c\"\r1;\"x;y\"\r"]
        {
            assert_eq!(fields(text), expected, "{text:?}");
        }
        assert_eq!(fields("a,b\tc,d"), [["a", "b\tc", "d"]]);
    }

    #[test]
    fn lines_are_counted_through_quotes() {
        let records = records("a,b\n\"1\n2\",x\nlast,\"open\n");
        assert_eq!(records.iter().map(|r| r.line).collect::<Vec<_>>(), [1, 2, 4]);
        assert!(records[2].unclosed && !records[1].unclosed);
    }

    #[test]
    fn formulas_are_guarded() {
        assert_eq!(quote("=cmd()"), "\"'=cmd()\"");
        assert_eq!(unguard(" '=cmd() "), "=cmd()");
        assert_eq!(quote("R101-01"), "\"R101-01\"");
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(cells in proptest::collection::vec("[ -~\n;,\"äß]{1,12}", 1..5)) {
            let line = cells.iter().map(|cell| quote(cell)).collect::<Vec<_>>().join(";");
            let records = records(&format!("{}\r\n{line}\r\n", ["h"; 5].join(";")));
            let blank = cells.iter().all(|cell| cell.trim().is_empty());
            prop_assert_eq!(records.len(), if blank { 1 } else { 2 });
            if let Some(record) = records.get(1) {
                for (read, cell) in record.fields.iter().zip(&cells) {
                    prop_assert!(read == cell || read.strip_prefix('\'') == Some(cell));
                }
            }
        }

        #[test]
        fn no_text_panics(text in "[\"';,=\n\r\ta0ß\u{feff}]{0,60}") {
            let records = records(&text);
            prop_assert!(records.windows(2).all(|pair| pair[0].line < pair[1].line));
        }
    }
}
