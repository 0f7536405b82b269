//! What a row says, wherever in the file it stood.

use std::collections::BTreeMap;

use crate::activation::exchange::fault::{Column, Position};

/// A value and where it stands. Not printable: it may be a confirmation ID.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) at: Position,
}

/// What is said about one installation ID. Empty cells are not in it.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) at: Position,
    pub(super) cells: BTreeMap<Column, Cell>,
}

impl Candidate {
    pub(super) fn text(&self, column: Column) -> &str {
        self.cells.get(&column).map_or("", |cell| &cell.text)
    }

    /// Where the column's value stands; the row, where it has none.
    pub(super) fn place(&self, column: Column) -> Position {
        self.cells.get(&column).map_or(self.at, |cell| cell.at)
    }
}

/// What a value is by itself: digits by their number, and GUIDs.
pub(super) fn by_content(text: &str) -> Option<Column> {
    let text = text.trim();
    // Far longer than 63 digits in groups.
    if text.len() > 200 {
        return None;
    }
    if is_guid(text) {
        return (!is_application(text)).then_some(Column::ActivationId);
    }
    let mut digits = 0;
    for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        if !c.is_ascii_digit() {
            return None;
        }
        digits += 1;
    }
    match digits {
        54 | 63 => Some(Column::InstallationId),
        48 => Some(Column::ConfirmationId),
        _ => None,
    }
}

/// With or without braces.
pub(super) fn is_guid(text: &str) -> bool {
    let text = text.trim_matches(['{', '}']);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The GUIDs of Windows, Office 2010 and later Office as applications, which stand beside the product's in VAMT's tables.
fn is_application(guid: &str) -> bool {
    const APPLICATIONS: [&str; 3] = [
        "55c92734-d682-4d71-983e-d6ec3f16059f",
        "59a52881-a989-479d-af46-f275c6370663",
        "0ff1ce15-a989-479d-af46-f275c6370663",
    ];
    let guid = guid.trim_matches(['{', '}']);
    APPLICATIONS.iter().any(|application| application.eq_ignore_ascii_case(guid))
}
