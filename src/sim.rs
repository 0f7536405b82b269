//! To be written.

pub mod licensing;
pub mod portal;
