//! Where the profiles and the state are, and who asks.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::night::key_values::Sources;
use crate::profile::load;
use crate::profile::model::{KeySource, Profiles};
use crate::secret::Secret;
use crate::serve::StateFolder;

/// Where state is kept if neither the command line nor the profiles say.
const STATE: &str = "/var/lib/klonwerk";

/// Which school a command is about.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    /// The folder that holds site.yaml and rooms/.
    #[arg(long, value_name = "DIR", default_value = "profiles", global = true)]
    pub(super) profiles: PathBuf,
    /// Where state and images are kept. Without it: `server.state` of the profiles, else /var/lib/klonwerk.
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
}

impl Place {
    /// The state folder, with these profiles.
    pub(super) fn state_of(&self, profiles: Option<&Profiles>) -> StateFolder {
        let said = self.state.as_deref().or_else(|| profiles?.site.server.state.as_deref());
        StateFolder(said.unwrap_or(Path::new(STATE)).to_owned())
    }

    /// The state folder; profiles with faults say nothing about it.
    pub(super) fn state(&self) -> StateFolder {
        match &self.state {
            Some(state) => StateFolder(state.clone()),
            None => self.state_of(load::load(&self.profiles).ok().as_ref()),
        }
    }
}

/// Where the values of these profiles' keys come from: systemd's credentials, and the variables that they name.
pub(super) fn key_sources(profiles: &Profiles) -> Sources {
    let mut sources =
        Sources { credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from), ..Sources::default() };
    for key in profiles.site.keys.values() {
        if let KeySource::Environment(name) = &key.source
            && let Ok(value) = std::env::var(name)
        {
            sources.environment.insert(name.clone(), Secret::new(value));
        }
    }
    sources
}

/// Who sits at this terminal, for the history of runs: behind `sudo` the person, not root.
pub(super) fn who_asks() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
