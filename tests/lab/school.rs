//! A school of one answer: the boot directory that DHCP tests ask.

use std::sync::Mutex;

use klonwerk::boot::firmware::Firmware;
use klonwerk::boot::{BootDirectory, BootSubject, KnownMachine, RunTicket};
use klonwerk::profile::{BootEnvironment, Idle};
use klonwerk::room::{Language, Mac, MachineUuid};

/// Says the same of every MAC address, and records what it was told.
#[derive(Debug)]
pub(crate) struct School {
    subject: BootSubject,
    pub(crate) seen: Mutex<Vec<(Mac, Option<MachineUuid>, Firmware)>>,
    pub(crate) answered: Mutex<Vec<(Mac, u64)>>,
}

impl School {
    pub(crate) fn of(subject: BootSubject) -> Self {
        Self { subject, seen: Mutex::default(), answered: Mutex::default() }
    }
}

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

impl BootDirectory for School {
    fn subject(&self, _: Mac, _: Option<MachineUuid>) -> BootSubject {
        self.subject.clone()
    }

    fn seen(&self, mac: Mac, uuid: Option<MachineUuid>, _: &BootSubject, firmware: Firmware) {
        self.seen.lock().expect("lock").push((mac, uuid, firmware));
    }

    fn answered(&self, mac: Mac, run: u64) {
        self.answered.lock().expect("lock").push((mac, run));
    }
}
