//! What stands in for a school on this machine.
//!
//! [`pc`] is a whole PC, made of [`firmware`] and its [`tftp`] client, the real agents, and what is [`record`]ed at it;
//! [`licensing`] is its licensing service and Microsoft's counters, [`portal`] Microsoft's portal, [`replay`] a licensing
//! service that plays a record; [`master`] makes disks with [`volume`]s and plays a school day on their clones.

pub mod firmware;
pub mod licensing;
pub mod master;
pub mod pc;
pub mod portal;
pub mod record;
pub mod replay;
pub mod tftp;
pub mod volume;
