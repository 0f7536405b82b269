//! Klonwerk brings school computer rooms back to a known state every night, Windows activation included.
//!
//! The map, from the bottom up; an arrow may only point down (`tests/architecture.rs`), `docs/architecture.md`
//! tells the story:
//!
//! - domain, pure: [`secret`] [`clock`] [`room`] [`progress`] [`calendar`] [`activation`] [`profile`] [`job`] [`boot`]
//! - cores, protocols and formats without I/O: [`image`] [`dhcp`] [`dns`] [`tftp`]
//! - io, the edges: [`disk`] [`packs`] [`net`] [`store`]
//! - servers: [`dhcp_server`] [`tftp_server`] [`http`] [`night`]; beside them [`agent`], which runs on the PCs
//! - [`sim`]: simulated PCs and masters, for rehearsals and tests
//! - [`serve`], the composition root, [`rehearsal`], a school on this machine, and [`cli`], the only place that prints

pub mod activation;
pub mod boot;
pub mod calendar;
pub mod clock;
pub mod job;
pub mod profile;
pub mod progress;
pub mod room;
pub mod secret;

#[cfg(target_os = "linux")]
pub mod dhcp;
#[cfg(target_os = "linux")]
pub mod dns;
pub mod image;
pub mod tftp;

pub mod disk;
#[cfg(target_os = "linux")]
pub mod net;
#[cfg(target_os = "linux")]
pub mod packs;
#[cfg(target_os = "linux")]
pub mod store;

pub mod agent;
#[cfg(target_os = "linux")]
pub mod dhcp_server;
#[cfg(target_os = "linux")]
pub mod http;
#[cfg(target_os = "linux")]
pub mod night;
#[cfg(target_os = "linux")]
pub mod tftp_server;

#[cfg(target_os = "linux")]
pub mod sim;

pub mod cli;
#[cfg(target_os = "linux")]
pub mod rehearsal;
#[cfg(target_os = "linux")]
pub mod serve;
