//! The agent: Klonwerk on a PC, inside the boot environment (imaging) and inside Windows (resident).
//!
//! Synchronous throughout: threads, rustls, ureq. [`protocol`] is what it says to the server, [`client`] says it over TLS
//! pinned to the server's own authority. [`visit`] is one visit of the imaging agent: [`linux`] finds the disk that the
//! rule names, [`imaging`] brings it back to its image, [`note`] is what is left on the disk for [`resident`], which
//! runs the hooks inside Windows.

pub mod client;
pub mod imaging;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod note;
pub mod protocol;
pub mod resident;
pub mod visit;
