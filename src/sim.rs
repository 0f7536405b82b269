//! What stands in for a school on this machine: volumes and whole master disks, what a school day does to them, the
//! licensing service of a PC, and Microsoft's side of it.

pub mod licensing;
pub mod master;
pub mod portal;
pub mod volume;
