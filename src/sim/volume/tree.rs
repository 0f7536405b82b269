//! The files of a volume to be.

use std::collections::HashMap;

use super::{Contents, VolumeError};

/// The node of the root folder.
pub(super) const ROOT: usize = 0;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) parent: usize,
    pub(super) kind: NodeKind,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    Folder(Vec<usize>),
    File { contents: Contents, pieces: u64 },
}

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    by_name: HashMap<(usize, String), usize>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Node { name: ".".to_owned(), parent: ROOT, kind: NodeKind::Folder(Vec::new()) };
        Self { nodes: vec![root], by_name: HashMap::new() }
    }

    pub(super) fn folder(&mut self, path: &str) -> Result<usize, VolumeError> {
        let bad = |why| VolumeError::BadPath { path: path.to_owned(), why };
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = match self.by_name.get(&(at, name.to_uppercase())) {
                Some(found) if matches!(self.nodes[*found].kind, NodeKind::Folder(_)) => *found,
                Some(_) => return Err(bad("one of the folders above is a file")),
                None => self.add(at, name, NodeKind::Folder(Vec::new())).map_err(bad)?,
            };
        }
        Ok(at)
    }

    pub(super) fn file(&mut self, path: &str, contents: Contents, pieces: u64) -> Result<(), VolumeError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.folder(folder)?;
        let bad = |why| VolumeError::BadPath { path: path.to_owned(), why };
        if self.by_name.contains_key(&(folder, name.to_uppercase())) {
            return Err(bad("it is there already"));
        }
        self.add(folder, name, NodeKind::File { contents, pieces }).map(|_| ()).map_err(bad)
    }

    fn add(&mut self, parent: usize, name: &str, kind: NodeKind) -> Result<usize, &'static str> {
        // Longer names would not leave room for everything else in a file record.
        if name.is_empty() || name.encode_utf16().count() > 200 {
            return Err("a name has 1 to 200 characters");
        }
        let reserved = |letter: char| letter < ' ' || "\"*/:<>?\\|".contains(letter);
        if name.contains(reserved) || name.ends_with(['.', ' ']) || (parent == ROOT && name.starts_with('$')) {
            return Err("Windows does not allow such a name");
        }
        let index = self.nodes.len();
        self.nodes.push(Node { name: name.to_owned(), parent, kind });
        if let NodeKind::Folder(children) = &mut self.nodes[parent].kind {
            children.push(index);
        }
        self.by_name.insert((parent, name.to_uppercase()), index);
        Ok(index)
    }

    /// The path of a node from the root.
    pub(super) fn path(&self, mut node: usize) -> String {
        let mut parts = Vec::new();
        while node != ROOT {
            parts.push(self.nodes[node].name.as_str());
            node = self.nodes[node].parent;
        }
        parts.reverse();
        parts.join("/")
    }
}
