//! Profiles: the YAML that an administrator commits, checked into a model.
//!
//! [`wire`] is the shape of the files, [`model`] what the rest of the program sees; [`load`] is the only file that reads
//! YAML; [`faults`] collects everything that is wrong at once, with place, excerpt and advice; [`schema`] makes the JSON
//! Schema for editors.

pub mod faults;
pub mod load;
pub mod model;
pub mod schema;
pub mod wire;

pub use model::{BootEnvironment, Hook, Idle, Machine, Profiles, Room, Site};
