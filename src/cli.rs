//! To be written.

pub mod check;
pub mod schema;
