//! To be written.

#[cfg(target_os = "linux")]
pub mod image;
