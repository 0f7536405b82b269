//! What stands in for a school on this machine: volumes and whole master disks, and what a school day does to them.

pub mod master;
pub mod volume;
