//! What DHCP tests say of machines.

use klonwerk::boot::{BootSubject, KnownMachine, RunTicket};
use klonwerk::profile::{BootEnvironment, Idle};
use klonwerk::room::Language;

/// A machine of a room, with or without a run.
pub(crate) fn known(idle: Idle, run: Option<u64>) -> BootSubject {
    BootSubject::Known(KnownMachine {
        machine: "R101-01".parse().expect("name"),
        room: "r101".parse().expect("name"),
        environment: BootEnvironment::Linux,
        idle,
        run: run.map(|run| RunTicket { run, language: Language::De }),
    })
}
