//! Images on the server's disk, through the public surface: formats, the store with its crashes, capture.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

#[path = "packs/capture.rs"]
mod capture;
#[path = "packs/disks.rs"]
mod disks;
#[path = "packs/formats.rs"]
mod formats;
#[path = "packs/screens.rs"]
mod screens;
#[path = "packs/store.rs"]
mod store;
