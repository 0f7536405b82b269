//! HTTP: the only place that knows axum.

pub mod boot_files;
