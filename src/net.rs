//! The network's edge: sockets that belong to one interface, which interfaces those are, and how PCs are woken.
//!
//! Protocol cores name where a reply goes; [`udp`] maps that to an address, in the school's network or, for the demo and
//! rehearsals, on the loopback interface.

pub mod interfaces;
pub mod kms;
pub mod resolver;
pub mod udp;
pub mod wake;
