//! The network's edge: sockets that belong to one interface, which interfaces those are, how PCs are woken, and questions to
//! an ActivationWs server.
//!
//! Protocol cores name where a reply goes; [`udp`] maps that to an address, in the school's network or, for the demo and
//! rehearsals, on the loopback interface.

pub mod activation_ws;
pub mod interfaces;
pub mod kms;
pub mod resolver;
pub mod udp;
pub mod wake;
