//! The resident agent: inside the freshly cloned Windows it proves itself with the note on the disk, runs the hooks that
//! are left, and then does what the run says.
//!
//! Every hook is safe to run again: the server lists only hooks without a recorded result, a hook looks before it acts,
//! and a result that was sent twice counts once. What Windows does is behind [`WindowsHost`].

use std::time::Duration;

use crate::activation::codes::Code;
use crate::activation::confirmation::{InstallationId, ProductRef};
use crate::activation::hook::{self, ConfirmationAnswer, ConfirmationDesk, DeskError};
use crate::activation::licensing::LicensingService;
use crate::agent::client::{Client, ClientError, Patience};
use crate::agent::note::{Note, NoteError};
use crate::agent::protocol::{
    Afterwards, ConfirmationRefused, ConfirmationWanted, HookResult, WindowsAction, WindowsCheckIn, WindowsHook,
};
use crate::image::WindowsFacts;
use crate::room::{Mac, MachineName};

/// What the resident agent needs of the Windows that it runs in.
pub trait WindowsHost {
    /// The place of the note on the system disk, as bytes.
    fn note(&mut self) -> Result<Vec<u8>, std::io::Error>;

    /// The PC's network card.
    fn mac(&self) -> Mac;

    /// What Windows calls the PC.
    fn computer_name(&self) -> String;

    /// Gives the PC another name, which holds after a restart.
    fn rename(&mut self, name: &MachineName) -> Result<(), std::io::Error>;

    /// What is known of this Windows.
    fn facts(&self) -> WindowsFacts;

    /// Runs a program and waits for it; its exit code.
    fn run(&mut self, command: &[String], time_out: Duration) -> Result<i32, std::io::Error>;

    /// The licensing service.
    fn licensing(&mut self) -> &mut dyn LicensingService;
}

/// Why the resident agent could not do its part.
#[derive(Debug, thiserror::Error)]
pub enum ResidentError {
    /// The note's place on the disk cannot be read.
    #[error("cannot read the imaging agent's note from the system disk")]
    ReadNote(#[source] std::io::Error),
    /// There is no usable note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The server cannot be reached or refuses.
    #[error(transparent)]
    Server(#[from] ClientError),
}

/// What comes after one round of the resident agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Restart Windows, then start again.
    Restart,
    /// All hooks have a result.
    Over(Afterwards),
}

/// Runs what is left of this run's hooks, up to the first restart.
pub fn run(host: &mut dyn WindowsHost, patience: Patience) -> Result<Next, ResidentError> {
    let note = Note::decode(&host.note().map_err(ResidentError::ReadNote)?)?;
    let client = Client::connect(&note.server, &note.pin, patience)?.with_bearer(&note.credential);
    let hello = WindowsCheckIn { mac: host.mac(), computer_name: host.computer_name(), windows: host.facts() };
    let work = client.windows_check_in(&hello)?;
    for hook in &work.hooks {
        let (result, restart) = perform(host, &client, hook);
        client.hook_result(hook.index, &result)?;
        if restart {
            return Ok(Next::Restart);
        }
    }
    Ok(Next::Over(work.then))
}

fn perform(host: &mut dyn WindowsHost, client: &Client, hook: &WindowsHook) -> (HookResult, bool) {
    match &hook.action {
        WindowsAction::ComputerName { name } => {
            if host.computer_name() == name.as_str() {
                return (HookResult::Done { what: format!("already called {name}") }, false);
            }
            match host.rename(name) {
                Ok(()) => (HookResult::Done { what: format!("renamed to {name}") }, true),
                Err(error) => (HookResult::Failed { why: format!("cannot rename the PC to {name}: {error}") }, false),
            }
        }
        WindowsAction::Command { command } => {
            let result = match host.run(command, hook.time_out) {
                Ok(0) => HookResult::Done { what: format!("{} ended well", hook.name) },
                Ok(code) => HookResult::Failed { why: format!("{} ended with exit code {code}", hook.name) },
                Err(error) => HookResult::Failed { why: format!("{} could not be run: {error}", hook.name) },
            };
            (result, false)
        }
        WindowsAction::Activation { order } => {
            let result = match hook::run(order, host.licensing(), &mut ServerDesk { client }) {
                Ok(report) => HookResult::Activation { report: Box::new(report) },
                Err(error) => HookResult::Failed { why: chain(&error) },
            };
            (result, false)
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// The confirmation store, reached through the server.
struct ServerDesk<'a> {
    client: &'a Client,
}

fn desk_error(error: ClientError) -> DeskError {
    DeskError { reason: chain(&error) }
}

impl ConfirmationDesk for ServerDesk<'_> {
    fn confirmation(&mut self, iid: &InstallationId, product: &ProductRef) -> Result<ConfirmationAnswer, DeskError> {
        let (installation_id, product) = (iid.clone(), product.clone());
        let wanted = ConfirmationWanted { installation_id, product, extended_product_id: None };
        self.client.confirmation(&wanted).map_err(desk_error)
    }

    fn pending(&mut self, _iid: &InstallationId, _product: &ProductRef) -> Result<(), DeskError> {
        // Asking for a confirmation ID records the installation ID as pending on the server, in the same request.
        Ok(())
    }

    fn stale(&mut self, iid: &InstallationId, product: &ProductRef, code: Code) -> Result<(), DeskError> {
        let refused = ConfirmationRefused { installation_id: iid.clone(), product: product.clone(), code: code.0 };
        self.client.confirmation_refused(&refused).map_err(desk_error)
    }
}
