//! VAMT's exchange files, `.cil` of version 2 and `.cilx` of version 3, read only.
//!
//! Of `.cil` Microsoft's help names the elements; of `.cilx` none is documented. So nothing here depends on a schema: any
//! attribute, and any element that holds text only, counts by its name or by what it holds. What stands in one element
//! belongs together; computer, product and key also hold for what is inside of the element that they stand in.

use std::collections::BTreeMap;

use crate::activation::exchange::candidate::{Candidate, Cell, by_content, is_guid};
use crate::activation::exchange::fault::{Column, Position, RowFault, Why, folded};
use crate::activation::exchange::xml::{Event, Xml};

/// More than any school.
const MOST_ROWS: usize = 50_000;

/// What is said about installation IDs anywhere in the document.
pub(super) fn candidates(text: &str) -> Result<Vec<Candidate>, RowFault> {
    let mut xml = Xml::new(text);
    let mut open: Vec<Element> = Vec::new();
    let mut found = Vec::new();
    while let Some(event) = xml.next().map_err(|(at, why)| at.fault(why))? {
        match event {
            Event::Open { name, attributes } => {
                if let Some(parent) = open.last_mut() {
                    parent.has_elements = true;
                }
                let mut element = Element::new(name);
                for attribute in attributes {
                    let name = local(attribute.name);
                    let text = attribute.value.trim();
                    if let Some(column) = column(&element.name, &folded(name), text) {
                        element.own.add(column, Cell { text: text.to_owned(), at: attribute.at });
                    }
                }
                open.push(element);
            }
            Event::Text { text, at } => {
                if let Some(element) = open.last_mut() {
                    element.text.get_or_insert_with(|| Cell { text: String::new(), at }).text.push_str(&text);
                }
            }
            Event::Close => {
                let Some(closed) = open.pop() else { continue };
                match open.last_mut() {
                    Some(parent) if closed.is_leaf() => parent.take(closed),
                    Some(parent) => parent.found.extend(closed.settle()),
                    None => {
                        let mut root = Element::new("");
                        if closed.is_leaf() {
                            root.take(closed);
                            found = root.settle();
                        } else {
                            found = closed.settle();
                        }
                    }
                }
                if open.last().is_some_and(|parent| parent.found.len() + parent.leaves.len() > MOST_ROWS) {
                    return Err(xml.position().fault(Why::TooManyRows));
                }
            }
        }
    }
    if found.is_empty() {
        return Err(Position::START.fault(Why::NoInstallation));
    }
    found.sort_by_key(|candidate| candidate.at);
    Ok(found)
}

/// The name without its namespace.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// Which column a value is of, by the names of its element and attribute (or of parent and element), else by its content.
fn column(owner: &str, name: &str, text: &str) -> Option<Column> {
    if text.is_empty() {
        return None;
    }
    let named = match (owner, name) {
        ("computer" | "machine" | "host" | "volumeclient" | "client", "name") => Some(Column::Machine),
        ("sku", "id" | "value") => Some(Column::ActivationId),
        _ => Column::from_header(name),
    };
    match named {
        Some(Column::ActivationId) => is_guid(text).then_some(Column::ActivationId),
        Some(Column::PartialKey) => (text.chars().count() == 5).then_some(Column::PartialKey),
        Some(column) => Some(column),
        // A GUID is the product's only where its name says so: computers and exports have GUIDs too.
        None => by_content(text).filter(|column| *column != Column::ActivationId),
    }
}

/// Values of one place. What is said twice in different words is not known.
#[derive(Clone, Default)]
struct Values(BTreeMap<Column, Option<Cell>>);

impl Values {
    fn add(&mut self, column: Column, cell: Cell) {
        match self.0.get_mut(&column) {
            None => {
                self.0.insert(column, Some(cell));
            }
            Some(Some(before)) if before.text == cell.text => {}
            Some(before) => *before = None,
        }
    }

    fn has(&self, column: Column) -> bool {
        matches!(self.0.get(&column), Some(Some(_)))
    }

    fn add_all(&mut self, others: &Values) {
        for (column, cell) in &others.0 {
            match cell {
                Some(cell) => self.add(*column, cell.clone()),
                None => {
                    self.0.insert(*column, None);
                }
            }
        }
    }

    fn candidate(self) -> Option<Candidate> {
        let cells: BTreeMap<Column, Cell> =
            self.0.into_iter().filter_map(|(column, cell)| cell.map(|cell| (column, cell))).collect();
        cells.get(&Column::InstallationId).map(|cell| cell.at).map(|at| Candidate { at, cells })
    }

    /// Gives a row what it does not say itself. Never the pair of IDs: that has to stand in one place.
    fn lend(&self, candidate: &mut Candidate) {
        for column in [Column::Machine, Column::ActivationId, Column::PartialKey] {
            if let Some(Some(cell)) = self.0.get(&column) {
                candidate.cells.entry(column).or_insert_with(|| cell.clone());
            }
        }
    }
}

struct Element {
    name: String,
    /// Its attributes.
    own: Values,
    text: Option<Cell>,
    /// Of the elements in it that hold no others: name and values.
    leaves: Vec<(String, Values)>,
    /// Of the elements in it that hold others.
    found: Vec<Candidate>,
    has_elements: bool,
}

impl Element {
    fn new(name: &str) -> Self {
        Self {
            name: folded(local(name)),
            own: Values::default(),
            text: None,
            leaves: Vec::new(),
            found: Vec::new(),
            has_elements: false,
        }
    }

    fn is_leaf(&self) -> bool {
        !self.has_elements
    }

    /// Takes the values of an element that holds no others.
    fn take(&mut self, leaf: Element) {
        let mut values = leaf.own;
        if let Some(Cell { text, at }) = leaf.text {
            let text = text.trim();
            if let Some(column) = column(&self.name, &leaf.name, text) {
                values.add(column, Cell { text: text.to_owned(), at });
            }
        }
        if !values.0.is_empty() {
            self.leaves.push((leaf.name, values));
        }
    }

    /// The rows in this element, once it is closed.
    fn settle(self) -> Vec<Candidate> {
        let (pairs, others): (Vec<_>, Vec<_>) =
            self.leaves.into_iter().partition(|(_, values)| values.has(Column::InstallationId));
        let mut shared = self.own;
        let mut rows = self.found;
        let lone = pairs.len() == 1 && !shared.has(Column::InstallationId);
        for (name, values) in &others {
            // Next to a lone installation ID the other elements complete it, but not those of its own name: a list.
            if !lone || pairs.iter().all(|(pair, _)| pair != name) {
                shared.add_all(values);
            }
        }
        for (_, mut values) in pairs {
            if lone
                && !values.has(Column::ConfirmationId)
                && let Some(Some(cid)) = shared.0.get(&Column::ConfirmationId)
            {
                values.add(Column::ConfirmationId, cid.clone());
            }
            rows.extend(values.candidate());
        }
        rows.iter_mut().for_each(|row| shared.lend(row));
        rows.extend(shared.candidate());
        rows
    }
}

#[cfg(test)]
mod tests;
