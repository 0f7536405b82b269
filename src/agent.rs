//! To be written.

pub mod imaging;
#[cfg(target_os = "linux")]
pub mod linux;
