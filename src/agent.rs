//! The agent: Klonwerk on a PC. Synchronous throughout.
//!
//! [`imaging`] brings a disk back to its image; [`linux`] finds the disk that a profile's rule names.

pub mod imaging;
#[cfg(target_os = "linux")]
pub mod linux;
