//! The composition root: opens what there is, binds what is served, starts it, and ends it in peace.
//!
//! Nothing is decided here. [`Server::start`] gives a running server with the addresses that it bound, so that tests and the
//! rehearsal run the same server as a school does.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::boot::files::{BootFilesError, BootShelf, directory};
use crate::boot::script::machine::MachineScripts;
use crate::boot::script::{ScriptError, ScriptServer};
use crate::clock::Clock;
use crate::dhcp_server::{Attachment, DhcpConfig, DhcpPorts, DhcpServer, DhcpServerError};
use crate::http::listener::{self, Door};
use crate::http::tls::{Authority, TlsError};
use crate::http::{admin_api, agent_api, boot_files};
use crate::image::Hash;
use crate::night::{Night, NightError, Parts, key_values};
use crate::packs::{ImageStore, PackError, SigningKeyFile};
use crate::profile::faults::Faults;
use crate::profile::load;
use crate::store::{KeyError, Store, StoreError, StoreKey};
use crate::tftp_server::{self, TftpServerError, TransferEvent};

pub mod backup;
pub mod lock;
pub mod offline;

/// How often time acts on the runs.
const TICK: Duration = Duration::from_secs(1);

/// How often profiles and boot files are looked at for changes.
const LOOK: Duration = Duration::from_secs(5);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The profiles cannot be used.
    #[error("the profiles have faults; `klonwerk check` shows them:\n{0}")]
    Profiles(Faults),
    /// A file or folder.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A port.
    #[error("cannot listen for {what} at {address}; is another server running there, and may this one bind the port?")]
    Bind {
        /// For what.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process owns the state.
    #[error(transparent)]
    Lock(#[from] lock::LockError),
    /// A restore was cut short between the old state and the new one.
    #[error("a restore into {} was cut short; run it again with --force", .0.display())]
    UnfinishedRestore(PathBuf),
    /// The state store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state store's key.
    #[error(transparent)]
    StoreKey(#[from] KeyError),
    /// Nothing has been captured yet.
    #[error("there are no images in {}; make the first one with `klonwerk image capture`, or name another folder with --state", .0.display())]
    NoImages(PathBuf),
    /// The images.
    #[error(transparent)]
    Images(#[from] PackError),
    /// The image signing key.
    #[error(transparent)]
    SigningKey(#[from] crate::packs::KeyError),
    /// The authority.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The boot files.
    #[error(transparent)]
    BootFiles(#[from] BootFilesError),
    /// The boot scripts.
    #[error(transparent)]
    Scripts(#[from] ScriptError),
    /// DHCP.
    #[error(transparent)]
    Dhcp(#[from] DhcpServerError),
    /// TFTP.
    #[error(transparent)]
    Tftp(#[from] TftpServerError),
    /// The runner.
    #[error(transparent)]
    Night(#[from] NightError),
}

/// Where everything is kept, below one folder.
#[derive(Debug, Clone)]
pub struct StateFolder(pub PathBuf);

impl StateFolder {
    /// The images.
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The image signing key, outside the images.
    pub fn signing_key(&self) -> PathBuf {
        self.0.join("image-signing.key")
    }

    /// The state store.
    pub fn database(&self) -> PathBuf {
        self.0.join("klonwerk.db")
    }

    /// The state store's key.
    pub fn database_key(&self) -> PathBuf {
        self.0.join("klonwerk.key")
    }

    /// The server's authority.
    pub fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }

    /// What the administrator brings for network boots.
    pub fn boot(&self) -> PathBuf {
        self.0.join("boot")
    }

    /// The socket for the command line.
    pub fn socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    /// The lock of whoever owns the state.
    pub fn lock(&self) -> PathBuf {
        self.0.join("owner.lock")
    }
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The profiles.
    pub profiles: PathBuf,
    /// Where state is kept.
    pub state: StateFolder,
    /// Loopback only, with ports that the system chooses: for rehearsals and tests.
    pub loopback: bool,
    /// Where product keys come from, beside files.
    pub key_values: key_values::Sources,
}

/// What the server bound.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Plain HTTP.
    pub boot: SocketAddr,
    /// HTTPS.
    pub agents: SocketAddr,
    /// TFTP.
    pub tftp: SocketAddr,
    /// DHCP, where it is served.
    pub dhcp: Option<DhcpPorts>,
    /// The URL for agents.
    pub agent_url: String,
    /// The fingerprint of the authority.
    pub pin: Hash,
    /// The socket for the command line.
    pub admin: PathBuf,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addresses: Addresses,
    /// Its runner.
    pub night: Arc<Night>,
    stop: CancellationToken,
    tasks: JoinSet<&'static str>,
    // Given up last, when nothing writes any more.
    _lock: lock::OwnerLock,
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ServeError {
    let path = path.to_owned();
    move |source| ServeError::File { action, path, source }
}

impl Server {
    /// Opens, binds and starts everything. Must be called inside a tokio runtime.
    pub async fn start(options: ServeOptions, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        let profiles = load::load(&options.profiles).map_err(ServeError::Profiles)?;
        let state = &options.state;
        fs::create_dir_all(&state.0).map_err(file_error("create", &state.0))?;
        fs::set_permissions(&state.0, fs::Permissions::from_mode(0o700)).map_err(file_error("protect", &state.0))?;
        let lock = lock::OwnerLock::take(&state.lock())?;
        if state.unfinished_restore().exists() {
            return Err(ServeError::UnfinishedRestore(state.0.clone()));
        }

        let site = profiles.site.clone();
        let store = Store::open(&state.database(), StoreKey::open_or_create(&state.database_key())?, clock.clone())?;
        let images = ImageStore::open(&state.images())?;
        let signing = SigningKeyFile::open_or_create(&state.signing_key())?;
        let authority = Authority::open_or_create(&state.tls())?;
        let night = Arc::new(Night::new(Parts {
            store,
            images,
            public_key: signing.verifying_key().to_bytes(),
            profiles,
            clock,
            key_values: options.key_values.clone(),
        })?);

        let (own, any) = if options.loopback {
            (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST))
        } else {
            (site.server.address, site.server.address)
        };
        let port = |port| if options.loopback { 0 } else { port };
        let (boot_listener, boot) = listen("HTTP", SocketAddr::new(any, port(site.server.boot_port))).await?;
        let (agent_listener, agents) = listen("HTTPS", SocketAddr::new(any, port(site.server.agent_port))).await?;
        let agent_url = format!("https://{}", SocketAddr::new(own, agents.port()));
        let scripts = MachineScripts::new(
            night.clone(),
            ScriptServer {
                base_url: format!("http://{}", SocketAddr::new(own, boot.port())),
                agent_url: agent_url.clone(),
                pin: authority.pin().to_string(),
                language: site.language,
            },
        )?;
        let boot_folder = state.boot();
        fs::create_dir_all(&boot_folder).map_err(file_error("create", &boot_folder))?;
        let shelf = Arc::new(BootShelf::new(directory::scan(&boot_folder, None)?, Arc::new(scripts)));

        let tftp_listen = SocketAddr::new(any, port(site.server.tftp_port));
        let tftp = tftp_server::Config { listen: tftp_listen, limits: Default::default(), ports: None };
        let tftp = tftp_server::Server::bind(tftp, shelf.clone(), Arc::new(tell_transfer)).await?;
        let dhcp = match (DhcpConfig::of_site(&site), options.loopback) {
            (_, true) => Some(DhcpConfig {
                address: Ipv4Addr::LOCALHOST,
                boot_port: boot.port(),
                attachment: Attachment::Loopback,
            }),
            (config, false) => config?,
        };
        let dhcp = dhcp.map(DhcpServer::bind).transpose()?;

        let socket = state.socket();
        remove_stale(&socket)?;
        let admin = UnixListener::bind(&socket).map_err(file_error("open the socket", &socket))?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).map_err(file_error("protect", &socket))?;

        let addresses = Addresses {
            boot,
            agents,
            tftp: tftp.local_addr(),
            dhcp: dhcp.as_ref().map(DhcpServer::ports),
            agent_url,
            pin: authority.pin(),
            admin: socket,
        };
        let mut names = vec![own.to_string(), "localhost".to_owned()];
        if own != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            names.push(Ipv4Addr::LOCALHOST.to_string());
        }
        let tls = authority.server_config(&names)?;

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let agent_router = agent_api::router(night.clone());
        let admin_router = admin_api::router(night.clone(), stop.clone());
        spawn(
            &mut tasks,
            "boot files",
            listener::run(Door::Plain(boot_listener), boot_files::router(shelf.clone()), stop.clone()),
        );
        spawn(&mut tasks, "agents", listener::run(Door::Tls(agent_listener, tls), agent_router, stop.clone()));
        spawn(&mut tasks, "command line", listener::run(Door::Local(admin), admin_router, stop.clone()));
        spawn(&mut tasks, "tftp", tftp.run(stop.clone()));
        if let Some(dhcp) = dhcp {
            let (night, stop) = (night.clone(), stop.clone());
            spawn(&mut tasks, "dhcp", async move {
                if let Err(error) = dhcp.run(night, stop).await {
                    tracing::error!(error = &error as &dyn std::error::Error, "DHCP stopped");
                }
            });
        }
        spawn(&mut tasks, "time", tick(night.clone(), stop.clone()));
        spawn(&mut tasks, "changes", watch(night.clone(), options.profiles, shelf, boot_folder, stop.clone()));
        Ok(Self { addresses, night, stop, tasks, _lock: lock })
    }

    /// Tells everything to stop and waits until it has; then the state is given up.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let night = self.night.clone();
        // Closing waits for the store's writer.
        let closed = tokio::task::spawn_blocking(move || night.store().close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the store did not close");
        }
        if let Err(error) = fs::remove_file(&self.addresses.admin) {
            tracing::debug!(%error, "the socket was gone already");
        }
    }

    /// Waits until a part of the server ends by itself, which is a fault, and names it.
    pub async fn failed(&mut self) -> &'static str {
        match self.tasks.join_next().await {
            Some(Ok(part)) => part,
            Some(Err(_)) | None => "a part of the server",
        }
    }
}

fn spawn(tasks: &mut JoinSet<&'static str>, part: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        work.await;
        part
    });
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Bind { what, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// A socket file that nobody listens to is what a killed server leaves behind; the lock says that it was not ours to keep.
fn remove_stale(socket: &Path) -> Result<(), ServeError> {
    match fs::remove_file(socket) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_error("remove", socket)(error)),
    }
}

async fn tick(night: Arc<Night>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let night = night.clone();
        let done = tokio::task::spawn_blocking(move || night.note_boots().and_then(|()| night.tick())).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "the night could not get on"),
            Err(error) => tracing::error!(%error, "the night was cut short"),
        }
    }
}

/// Takes changed profiles and boot files into force: profiles as a whole or not at all.
async fn watch(night: Arc<Night>, profiles: PathBuf, shelf: Arc<BootShelf>, boot: PathBuf, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut refused = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let (night, shelf) = (night.clone(), shelf.clone());
        let (profiles, boot) = (profiles.clone(), boot.clone());
        let before = std::mem::take(&mut refused);
        let looked = tokio::task::spawn_blocking(move || {
            match directory::scan(&boot, Some(&shelf.files())) {
                Ok(files) => shelf.replace(files),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the boot files stay as they were")
                }
            }
            match load::load(&profiles) {
                Ok(new) if new != *night.profiles() => {
                    tracing::info!(revision = new.revision, "changed profiles are in force");
                    night.replace_profiles(new);
                    String::new()
                }
                Ok(_) => String::new(),
                Err(faults) => {
                    let text = faults.to_string();
                    if text != before {
                        tracing::error!("changed profiles have faults; the old ones stay in force:\n{text}");
                    }
                    text
                }
            }
        });
        refused = looked.await.unwrap_or_default();
    }
}

fn tell_transfer(event: TransferEvent) {
    tracing::debug!(?event, "tftp");
}
