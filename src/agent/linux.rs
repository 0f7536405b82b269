//! What the agent needs to know of Linux.

pub mod hardware;
pub mod identity;
pub mod target;
