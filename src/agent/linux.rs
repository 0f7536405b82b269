//! What the agent needs to know of Linux.

pub mod target;
