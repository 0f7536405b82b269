//! The proxyDHCP service: what a network-boot client gets beside the address that the school's DHCP server gives it.
//!
//! | client | port 67 | port 4011 |
//! |---|---|---|
//! | BIOS PXE | offer with the file and option 43 = "take the file" | the same, confirmed |
//! | UEFI PXE | offer without a file and without option 43: firmware then asks at 4011 | the file |
//! | UEFI HTTP boot | offer with a URL and vendor class `HTTPClient` | does not ask |
//! | iPXE | offer with the script's URL and the server's address, without which iPXE ignores it | the same, confirmed |
//!
//! Some UEFI firmware ignores offers that bypass port 4011, all of it takes this route. A request for another server's
//! offer is never answered, nor is anybody who is not a network-boot client.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::boot::decide::{BootChoice, Purpose, Silence, decide};
use crate::boot::firmware::{Architecture, Loader};
use crate::boot::{BootDirectory, BootSubject, script};
use crate::dhcp::pxe;
use crate::dhcp::rate::{Buckets, Rate};
use crate::dhcp::reply::{BootReply, ReplyError, ReplyKind};
use crate::dhcp::request::{BootRequest, MessageKind, NotOurs, VendorClass};
use crate::dhcp::{CLIENT_PORT, Destination, Received, Reply, Service};
use crate::room::Mac;

/// A boot takes about ten messages within half a minute; a PC that asks more often is broken or an attack.
const KNOWN: Rate = Rate { burst: 20, every: Duration::from_secs(1) };
/// The machines of the largest site, and some.
const KNOWN_MACHINES: usize = 16 * 1024;
/// Unknown clients and impostors, all together: enough to list a new room that is switched on at once.
const STRANGERS: Rate = Rate { burst: 100, every: Duration::from_millis(100) };

/// The proxyDHCP service.
pub struct ProxyDhcp {
    directory: Arc<dyn BootDirectory>,
    boot_port: u16,
    known: Buckets<Mac>,
    strangers: Buckets<()>,
}

/// Why a datagram gets no reply.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
    /// It is not a network-boot client's.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
    /// The client has chosen another server.
    #[error("the client means another server")]
    AnotherServer,
    /// A kind of message that this port does not answer.
    #[error("{0:?} is not answered at this port")]
    WrongPort(MessageKind),
    /// The client asks too often.
    #[error("{0} asks too often")]
    TooOften(Mac),
    /// The decision is silence.
    #[error("{mac} gets no answer: {why}")]
    Silent {
        /// Who asked.
        mac: Mac,
        /// Why.
        why: Silence,
    },
    /// The reply does not fit.
    #[error("the reply to {mac} cannot be written")]
    Reply {
        /// Who asked.
        mac: Mac,
        /// Why.
        #[source]
        source: ReplyError,
    },
}

impl ProxyDhcp {
    /// A service that asks `directory` who a client is, and whose boot files are served by HTTP at `boot_port`.
    pub fn new(directory: Arc<dyn BootDirectory>, boot_port: u16) -> Self {
        Self { directory, boot_port, known: Buckets::new(KNOWN, KNOWN_MACHINES), strangers: Buckets::new(STRANGERS, 1) }
    }

    /// Answers one datagram, or says why not.
    pub fn handle(&mut self, now: Instant, received: &Received<'_>) -> Result<Reply, NoReply> {
        let request = BootRequest::decode(received.bytes)?;
        let kind = reply_kind(&request, received)?;
        let subject = self.directory.subject(request.mac, request.uuid());
        let in_time = match subject {
            BootSubject::Known(_) => self.known.allow(request.mac, now),
            BootSubject::Unknown | BootSubject::Impostor { .. } => self.strangers.allow((), now),
        };
        if !in_time {
            return Err(NoReply::TooOften(request.mac));
        }
        self.directory.seen(request.mac, request.uuid(), &subject, request.firmware);
        let choice = decide(&subject, request.firmware);
        let (file, purpose) = match choice {
            BootChoice::Silent(why) => return Err(NoReply::Silent { mac: request.mac, why }),
            BootChoice::Loader { file, purpose } => (self.loader(&request, received.local, file.name()), purpose),
            BootChoice::Script(purpose) => (self.url(received.local, &script::path(request.mac)), purpose),
        };
        let bytes =
            reply(&request, received, kind, &file).map_err(|source| NoReply::Reply { mac: request.mac, source })?;
        if let Purpose::Run(run) = purpose {
            self.directory.answered(request.mac, run);
        }
        Ok(Reply { bytes, destination: destination(&request, received) })
    }

    fn loader(&self, request: &BootRequest, local: Ipv4Addr, name: &str) -> String {
        match request.firmware.loader {
            Loader::Http => self.url(local, &format!("/boot/{name}")),
            // iPXE in a card's ROM resolves names against what it booted from, so it needs the whole URL.
            Loader::Pxe | Loader::Ipxe if request.bare_ipxe => format!("tftp://{local}/{name}"),
            Loader::Pxe | Loader::Ipxe => name.to_owned(),
        }
    }

    fn url(&self, local: Ipv4Addr, path: &str) -> String {
        match self.boot_port {
            80 => format!("http://{local}{path}"),
            port => format!("http://{local}:{port}{path}"),
        }
    }
}

/// Whether this port answers this message, and as what.
fn reply_kind(request: &BootRequest, received: &Received<'_>) -> Result<ReplyKind, NoReply> {
    let for_us = request.server_id.is_none_or(|server| server == received.local);
    match (received.service, request.kind) {
        (Service::Dhcp, MessageKind::Discover) => Ok(ReplyKind::Offer),
        // Without a server it is a client that renews its address: not our trade.
        (Service::Dhcp, MessageKind::Request) if request.server_id != Some(received.local) => {
            Err(NoReply::AnotherServer)
        }
        (Service::Proxy, MessageKind::Discover) => Err(NoReply::WrongPort(request.kind)),
        (_, MessageKind::Request | MessageKind::Inform) if !for_us => Err(NoReply::AnotherServer),
        (_, MessageKind::Request | MessageKind::Inform) => Ok(ReplyKind::Ack),
    }
}

fn reply(request: &BootRequest, received: &Received<'_>, kind: ReplyKind, file: &str) -> Result<Vec<u8>, ReplyError> {
    let firmware = request.firmware;
    let uefi_pxe = firmware.loader == Loader::Pxe && firmware.architecture.is_uefi() && !request.bare_ipxe;
    let is_bios = firmware.architecture == Architecture::Bios && request.vendor_class == VendorClass::Pxe;
    BootReply {
        request,
        kind,
        server: received.local,
        file: if uefi_pxe && kind == ReplyKind::Offer { None } else { Some(file) },
        vendor_options: &pxe::vendor_options(is_bios, request.boot_item),
        broadcast: destination(request, received) == Destination::Broadcast,
    }
    .encode()
}

/// Relays first (RFC 2131 section 4.1); at port 4011 back to where the request came from, its port too, since UEFI asks from
/// 4011 and iPXE from 68; else to everybody, since the client's address is not ours to know.
fn destination(request: &BootRequest, received: &Received<'_>) -> Destination {
    let source = received.source;
    if !request.giaddr.is_unspecified() {
        return Destination::Relay(request.giaddr);
    }
    match received.service {
        Service::Proxy if !source.ip().is_unspecified() => Destination::Unicast(source),
        Service::Proxy if !request.ciaddr.is_unspecified() => {
            Destination::Unicast(SocketAddrV4::new(request.ciaddr, source.port()))
        }
        Service::Dhcp if request.kind != MessageKind::Discover && !request.ciaddr.is_unspecified() => {
            Destination::Unicast(SocketAddrV4::new(request.ciaddr, CLIENT_PORT))
        }
        Service::Dhcp | Service::Proxy => Destination::Broadcast,
    }
}
