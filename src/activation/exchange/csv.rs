//! CSV as spreadsheets write it: quoted fields, any line end, comma, semicolon, tab or bar.

use crate::activation::exchange::fault::{Column, Position, RowFault, Why};

/// More than any school: 20 rooms of 35 PCs with three products make 2,100.
const MOST_ROWS: usize = 50_000;
/// More columns than any table has; what is beyond is passed over.
const MOST_FIELDS: usize = 200;
/// Lines in which the separator is looked for.
const SAMPLE: usize = 10;

/// A cell and where it begins.
pub(super) struct Field {
    pub(super) text: String,
    pub(super) at: Position,
}

/// A line of the table.
pub(super) struct Record {
    pub(super) at: Position,
    pub(super) fields: Vec<Field>,
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

/// The separator that makes most of the first lines: most known column names, then most columns.
fn separator(text: &str) -> char {
    let lines = || text.lines().filter(|line| !line.trim().is_empty()).take(SAMPLE);
    let names = |separator: char| {
        lines()
            .map(|line| {
                line.split(separator)
                    .filter(|cell| Column::from_header(cell.trim_matches(['"', ' '])).is_some())
                    .count()
            })
            .max()
            .unwrap_or(0)
    };
    let cells = |separator: char| {
        lines()
            .map(|line| {
                let mut quoted = false;
                line.chars()
                    .filter(|c| {
                        quoted ^= *c == '"';
                        *c == separator && !quoted
                    })
                    .count()
            })
            .sum::<usize>()
    };
    ['|', '\t', ',', ';'].into_iter().max_by_key(|separator| (names(*separator), cells(*separator))).unwrap_or(',')
}

/// `sep=;`, with which spreadsheets are told the separator.
fn told(text: &str) -> Option<(char, &str)> {
    let rest = text.strip_prefix("sep=")?;
    let separator = rest.chars().next().filter(|c| !c.is_alphanumeric() && !matches!(c, '"' | '\r' | '\n'))?;
    let rest = rest.get(separator.len_utf8()..)?;
    rest.starts_with(['\r', '\n']).then_some((separator, rest))
}

/// The lines that are not blank.
pub(super) fn records(text: &str) -> Result<Vec<Record>, RowFault> {
    let (separator, rest) = told(text).unwrap_or_else(|| (separator(text), text));
    let mut at = Position::START.after(text.get(..text.len() - rest.len()).unwrap_or_default());
    let mut records = Vec::new();
    let mut record = Record { at, fields: Vec::new() };
    let mut field = Field { text: String::new(), at };
    let mut quoted = None;
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        let here = at;
        let line_end = c == '\n' || (c == '\r' && chars.peek() != Some(&'\n'));
        at = match line_end {
            true => Position { line: at.line + 1, character: 1 },
            false => Position { character: at.character + 1, ..at },
        };
        if quoted.is_some() {
            match c {
                '"' if chars.peek() == Some(&'"') => {
                    chars.next();
                    at.character += 1;
                    field.text.push('"');
                }
                '"' => quoted = None,
                other => field.text.push(other),
            }
        } else if line_end || c == separator {
            if record.fields.len() < MOST_FIELDS {
                record.fields.push(std::mem::replace(&mut field, Field { text: String::new(), at }));
            } else {
                field = Field { text: String::new(), at };
            }
            if line_end {
                keep(&mut records, std::mem::replace(&mut record, Record { at, fields: Vec::new() }))?;
            }
        } else if c == '"' && field.text.trim().is_empty() {
            field.text.clear();
            quoted = Some(here);
        } else if c != '\r' {
            field.text.push(c);
        }
    }
    if let Some(at) = quoted {
        return Err(at.fault(Why::UnclosedQuote));
    }
    record.fields.push(field);
    keep(&mut records, record)?;
    Ok(records)
}

fn keep(records: &mut Vec<Record>, record: Record) -> Result<(), RowFault> {
    if record.fields.iter().all(|field| field.text.trim().is_empty()) {
        return Ok(());
    }
    if records.len() >= MOST_ROWS {
        return Err(record.at.fault(Why::TooManyRows));
    }
    records.push(record);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cells(text: &str) -> Vec<Vec<String>> {
        let records = records(text).unwrap_or_default().into_iter();
        records.map(|record| record.fields.into_iter().map(|field| field.text).collect()).collect()
    }

    #[test]
    fn the_forms_of_spreadsheets() {
        let expected = vec![vec!["a".to_owned(), "b\"c".to_owned()], vec!["1".to_owned(), "x;y".to_owned()]];
        for text in
            ["a;\"b\"\"c\"\r\n1;\"x;y\"\r\n", "a;\"b\"\"c\"\n\n1; \"x;y\"", "sep=;\r\na;\"b\"\"c\"\r1;\"x;y\"\r"]
        {
            assert_eq!(cells(text), expected, "{text:?}");
        }
        assert_eq!(cells("a,b\tc,d"), [["a", "b\tc", "d"]]);
        assert_eq!(
            cells("Stand: 1, 2, 3\npc|iid\na,b|2,c"),
            [vec!["Stand: 1, 2, 3"], vec!["pc", "iid"], vec!["a,b", "2,c"]]
        );
    }

    #[test]
    fn places_are_counted_through_quotes() {
        let text = "a,b\n\"1\n2\",x\r\n\nlast,\"y\"\n";
        let places: Vec<Vec<(usize, usize)>> = records(text)
            .unwrap_or_default()
            .iter()
            .map(|r| r.fields.iter().map(|field| (field.at.line, field.at.character)).collect())
            .collect();
        assert_eq!(places, [[(1, 1), (1, 3)], [(2, 1), (3, 4)], [(5, 1), (5, 6)]]);
        let open = records("a,b\nlast,\"open\n").err().map(|fault| (fault.line, fault.character, fault.why));
        assert_eq!(open, Some((2, 6, Why::UnclosedQuote)));
    }

    #[test]
    fn endless_tables_end() {
        let rows = "a,b\n".repeat(MOST_ROWS + 1);
        assert_eq!(records(&rows).err().map(|fault| (fault.line, fault.why)), Some((MOST_ROWS + 1, Why::TooManyRows)));
        let wide = records(&"a,".repeat(1 << 20)).unwrap_or_default();
        assert!(wide.iter().all(|record| record.fields.len() <= MOST_FIELDS + 1));
    }

    #[test]
    fn formulas_are_guarded() {
        assert_eq!(quote("=cmd()"), "\"'=cmd()\"");
        assert_eq!(unguard(" '=cmd() "), "=cmd()");
        assert_eq!(quote("R101-01"), "\"R101-01\"");
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(written in proptest::collection::vec("[ -~\n;,\"äß]{1,12}", 1..5)) {
            let line = written.iter().map(|cell| quote(cell)).collect::<Vec<_>>().join(";");
            let records = cells(&format!("{}\r\n{line}\r\n", ["h"; 5].join(";")));
            let blank = written.iter().all(|cell| cell.trim().is_empty());
            prop_assert_eq!(records.len(), if blank { 1 } else { 2 });
            if let Some(record) = records.get(1) {
                for (read, cell) in record.iter().zip(&written) {
                    prop_assert!(read == cell || read.strip_prefix('\'') == Some(cell));
                }
            }
        }

        #[test]
        fn no_text_panics(text in "[\"';,=|\n\r\ta0ß]{0,60}") {
            if let Ok(records) = records(&text) {
                prop_assert!(records.windows(2).all(|pair| pair[0].at < pair[1].at));
            }
        }
    }
}
