//! To be written.

pub mod master;
pub mod volume;
