//! Profiles: the YAML that an administrator commits, checked into a model.
//!
//! [`wire`] is the shape of the files, [`model`] what the rest of the program sees; [`load`] is the only file that reads
//! YAML, with `tree` between it and the types, so that one fault does not hide the next; `resolve` checks what the files
//! say against each other; [`faults`] collects everything that is wrong, with place, excerpt and advice; [`schema`] makes
//! the JSON Schema for editors.

pub mod faults;
pub mod load;
pub mod model;
mod near;
mod quantity;
mod resolve;
pub mod schema;
mod tree;
pub mod wire;

pub use model::{BootEnvironment, Hook, Idle, Machine, Profiles, Room, Site};
