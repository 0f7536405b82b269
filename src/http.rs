//! Everything that speaks HTTP; the only place that knows axum.
//!
//! [`boot_files`] is public and plain: what firmware fetches. [`tls`] is the server's own authority for everything else, and
//! [`listener`] accepts connections, bounded, and ends them in peace.

pub mod boot_files;
pub mod listener;
pub mod tls;
