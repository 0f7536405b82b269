//! The proxyDHCP server: sockets around [`crate::dhcp::ProxyDhcp`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::boot::BootDirectory;
use crate::dhcp::{NoReply, PROXY_PORT, ProxyDhcp, Received, SERVER_PORT, Service};
use crate::net::interfaces::{self, InterfaceError};
use crate::net::udp::{self, Mapping, SocketError};
use crate::profile::Site;
use crate::profile::model::NetworkMode;

/// Longer than any DHCP message; what is longer is cut, and does not parse.
const DATAGRAM_BYTES: usize = 2048;
/// How long a socket rests that the kernel reports an error for, so that a lasting one does not spin.
const REST_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Where the server listens, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpConfig {
    /// The server's own address: the source of every reply, and the server that replies name.
    pub address: Ipv4Addr,
    /// The port of plain HTTP, which boot URLs name.
    pub boot_port: u16,
    /// Where it listens.
    pub attachment: Attachment,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// At ports 67 and 4011 of these network interfaces.
    Interfaces(Vec<String>),
    /// At two free ports of the loopback interface, for the demo and rehearsals: replies go to where the request came from.
    Loopback,
}

impl DhcpConfig {
    /// What a site wants; none where it leaves DHCP alone.
    pub fn of_site(site: &Site) -> Result<Option<Self>, DhcpServerError> {
        if site.network == NetworkMode::Off {
            return Ok(None);
        }
        let IpAddr::V4(address) = site.server.address else {
            return Err(DhcpServerError::NotIpv4(site.server.address));
        };
        let names = match site.server.interfaces.as_slice() {
            [] => interfaces::towards(address)?,
            names => names.to_vec(),
        };
        Ok(Some(Self { address, boot_port: site.server.boot_port, attachment: Attachment::Interfaces(names) }))
    }
}

/// Why the server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DhcpServerError {
    /// PXE is IPv4.
    #[error(
        "network booting needs an IPv4 address, and the server's is {0}; correct it in site.yaml or set network: off"
    )]
    NotIpv4(IpAddr),
    /// No interface.
    #[error(transparent)]
    Interfaces(#[from] InterfaceError),
    /// No socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The kernel does not say which port it gave.
    #[error("cannot read the address of a socket")]
    LocalAddress(#[source] io::Error),
    /// A part of the server ended by itself, which is a fault of the program.
    #[error("a part of the DHCP server stopped")]
    Stopped(#[source] Option<tokio::task::JoinError>),
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpPorts {
    /// In place of port 67.
    pub dhcp: SocketAddrV4,
    /// In place of port 4011.
    pub proxy: SocketAddrV4,
}

/// A server whose sockets are bound: from here on no right of root's is needed.
#[derive(Debug)]
pub struct DhcpServer {
    config: DhcpConfig,
    endpoints: Vec<Endpoint>,
    ports: DhcpPorts,
}

/// A service on one interface.
#[derive(Debug)]
struct Endpoint {
    service: Service,
    mapping: Mapping,
    local: Ipv4Addr,
    interface: String,
    /// Bound to `local`: hears what is sent to it, and sends every reply.
    own: Arc<UdpSocket>,
    /// Bound to every address: hears broadcasts.
    wide: Option<UdpSocket>,
}

impl DhcpServer {
    /// Binds the sockets. Must be called inside a tokio runtime.
    pub fn bind(config: DhcpConfig) -> Result<Self, DhcpServerError> {
        let mut endpoints = Vec::new();
        for (service, port) in [(Service::Dhcp, SERVER_PORT), (Service::Proxy, PROXY_PORT)] {
            match &config.attachment {
                Attachment::Loopback => endpoints.push(Endpoint {
                    service,
                    mapping: Mapping::Loopback,
                    local: config.address,
                    interface: "lo".to_owned(),
                    own: Arc::new(udp::bind(None, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?),
                    wide: None,
                }),
                Attachment::Interfaces(names) => {
                    for name in names {
                        let bind = |address| udp::bind(Some(name), SocketAddrV4::new(address, port));
                        endpoints.push(Endpoint {
                            service,
                            mapping: Mapping::Network,
                            local: config.address,
                            interface: name.clone(),
                            own: Arc::new(bind(config.address)?),
                            wide: Some(bind(Ipv4Addr::UNSPECIFIED)?),
                        });
                    }
                }
            }
        }
        let address_of = |service| {
            let endpoint = endpoints.iter().find(|endpoint| endpoint.service == service);
            let endpoint = endpoint.ok_or(DhcpServerError::Interfaces(InterfaceError::None(config.address)))?;
            match endpoint.own.local_addr().map_err(DhcpServerError::LocalAddress)? {
                SocketAddr::V4(address) => Ok(address),
                SocketAddr::V6(address) => Err(DhcpServerError::NotIpv4(IpAddr::V6(*address.ip()))),
            }
        };
        let ports = DhcpPorts { dhcp: address_of(Service::Dhcp)?, proxy: address_of(Service::Proxy)? };
        Ok(Self { config, endpoints, ports })
    }

    /// Where it listens; on several interfaces, the first one's.
    pub fn ports(&self) -> DhcpPorts {
        self.ports
    }

    /// Serves until `cancel`.
    pub async fn run(
        self,
        directory: Arc<dyn BootDirectory>,
        cancel: CancellationToken,
    ) -> Result<(), DhcpServerError> {
        let proxy = Arc::new(Mutex::new(ProxyDhcp::new(directory, self.config.boot_port)));
        let mut tasks = JoinSet::new();
        for endpoint in self.endpoints {
            tracing::info!(interface = endpoint.interface, service = ?endpoint.service, "answering network boots");
            tasks.spawn(serve(endpoint, proxy.clone(), cancel.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                return Err(DhcpServerError::Stopped(Some(error)));
            }
            if !cancel.is_cancelled() {
                return Err(DhcpServerError::Stopped(None));
            }
        }
        Ok(())
    }
}

/// Binds and serves until `cancel`.
pub async fn run(
    config: DhcpConfig,
    directory: Arc<dyn BootDirectory>,
    cancel: CancellationToken,
) -> Result<(), DhcpServerError> {
    DhcpServer::bind(config)?.run(directory, cancel).await
}

async fn serve(endpoint: Endpoint, proxy: Arc<Mutex<ProxyDhcp>>, cancel: CancellationToken) {
    let mut own_bytes = [0; DATAGRAM_BYTES];
    let mut wide_bytes = [0; DATAGRAM_BYTES];
    loop {
        let (heard, bytes) = tokio::select! {
            () = cancel.cancelled() => return,
            heard = endpoint.own.recv_from(&mut own_bytes) => (heard, &own_bytes),
            heard = hear(endpoint.wide.as_ref(), &mut wide_bytes) => (heard, &wide_bytes),
        };
        match heard {
            Ok((len, SocketAddr::V4(source))) => {
                let bytes = bytes.get(..len).unwrap_or_default();
                endpoint.answer(&proxy, bytes, source).await;
            }
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) => {
                tracing::warn!(interface = endpoint.interface, %error, "cannot receive");
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(REST_AFTER_ERROR) => {}
                }
            }
        }
    }
}

/// For ever silent where there is no socket.
async fn hear(socket: Option<&UdpSocket>, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(bytes).await,
        None => std::future::pending().await,
    }
}

impl Endpoint {
    async fn answer(&self, proxy: &Mutex<ProxyDhcp>, bytes: &[u8], source: SocketAddrV4) {
        let received = Received { service: self.service, bytes, source, local: self.local };
        // A poisoned lock means that one packet met a fault; the buckets behind it are whole.
        let outcome = proxy.lock().unwrap_or_else(PoisonError::into_inner).handle(Instant::now(), &received);
        match outcome {
            Ok(reply) => {
                let address = self.mapping.address(reply.destination, source);
                match self.own.send_to(&reply.bytes, address).await {
                    Ok(_) => tracing::debug!(%address, service = ?self.service, "answered a network boot"),
                    Err(error) => tracing::warn!(%address, interface = self.interface, %error, "cannot send a reply"),
                }
            }
            Err(why @ (NoReply::Silent { .. } | NoReply::Reply { .. })) => {
                tracing::info!(%why, interface = self.interface, "no answer to a network boot");
            }
            Err(why) => tracing::debug!(%why, %source, "packet ignored"),
        }
    }
}
