//! `klonwerk serve`: the server, until it is told to stop.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::output::Output;
use crate::cli::place::{Place, key_sources};
use crate::clock::SystemClock;
use crate::profile::load;
use crate::serve::{Addresses, ServeOptions, Server};

/// `klonwerk serve …`
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    place: Place,
    /// Listen on loopback only, at ports that the system chooses.
    #[arg(long, hide = true)]
    loopback: bool,
}

/// Lets the log go to standard error: `RUST_LOG` says what, `usual` holds without it.
pub(super) fn log(usual: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that is set up already, as in tests, stays.
    let _ = if json { log.json().try_init() } else { log.with_ansi(false).try_init() };
}

/// Serves until SIGTERM or SIGINT; tells whether the profiles could be used.
pub(super) fn run(args: &ServeArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    log("info", to.json);
    let profiles = match load::load(&args.place.profiles) {
        Ok(profiles) => profiles,
        Err(faults) => {
            write!(std::io::stderr(), "{}", faults.render(to.language))?;
            return Ok(false);
        }
    };
    let options = ServeOptions {
        profiles: args.place.profiles.clone(),
        state: args.place.state_of(Some(&profiles)),
        loopback: args.loopback,
        key_values: key_sources(&profiles),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        // Asked for before anything is opened: a signal in the middle of the start has to end in peace too.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut server = Server::start(options, Arc::new(SystemClock)).await?;
        ready(&server.addresses, &profiles.site.name, to)?;
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            part = server.failed() => Some(part),
        };
        tracing::info!("stopping");
        server.stop().await;
        match failed {
            None => Ok(true),
            Some(part) => Err(anyhow::anyhow!(
                "a part of the server ended by itself: {part}; its reason stands in the log, start the server again"
            )),
        }
    })
}

fn ready(at: &Addresses, site: &str, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        let dhcp = at.dhcp.as_ref().map(|ports| json!({ "dhcp": ports.dhcp, "proxy": ports.proxy }));
        let line = json!({
            "boot": at.boot,
            "agents": at.agents,
            "tftp": at.tftp,
            "dhcp": dhcp,
            "agent_url": at.agent_url,
            "pin": at.pin,
            "admin": at.admin,
        });
        writeln!(to.out, "{line}")?;
    } else {
        let dhcp = at.dhcp.as_ref().map_or_else(
            || to.text("kein DHCP", "no DHCP").to_owned(),
            |ports| format!("DHCP {}, proxyDHCP {}", ports.dhcp, ports.proxy),
        );
        let served = to.text("wird bedient", "is served");
        let (boot, tftp, agents, pin, admin) = (at.boot, at.tftp, &at.agent_url, at.pin, at.admin.display());
        writeln!(to.out, "{site} {served}: HTTP {boot}, TFTP {tftp}, {dhcp}, {agents} (pin {pin}), {admin}")?;
    }
    Ok(to.out.flush()?)
}
