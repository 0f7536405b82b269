//! To be written.

pub mod check;
#[cfg(target_os = "linux")]
pub mod image;
pub mod schema;
