//! Everything that speaks HTTP; the only place that knows axum.
//!
//! [`boot_files`] is public and plain: what firmware fetches. [`agent_api`] is for agents, over TLS with the server's own
//! authority ([`tls`]). [`admin_api`] is for the command line, over a Unix socket. [`listener`] accepts connections for all
//! of them, bounded, and ends them in peace.

pub mod admin_api;
pub mod agent_api;
pub mod boot_files;
pub mod listener;
pub mod tls;
