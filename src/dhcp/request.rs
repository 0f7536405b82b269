//! What a network-boot client sent. Every packet is hostile until it has been read here.

use std::net::Ipv4Addr;

use dhcproto::v4::borrowed;

use crate::boot::firmware::{Architecture, Firmware, Loader};
use crate::dhcp::pxe::{self, BootItem, SubOptions};
use crate::room::{Mac, MachineUuid};

/// Up to and with the magic cookie (RFC 2131 section 2 and 3).
const HEADER_BYTES: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// A message of a client (RFC 2131 section 2, field `op`).
const BOOT_REQUEST: u8 = 1;
/// Ethernet, and the length of its addresses.
const ETHERNET: (u8, u8) = (1, 6);
/// iPXE's own encapsulated options, and its sub-option "I speak HTTP" (ipxe.org/howto/dhcpd, `src/include/ipxe/features.h`).
const IPXE_OPTIONS: u8 = 175;
const IPXE_HTTP: u8 = 0x13;

/// The kinds of message that a boot client sends (option 53, RFC 2132 section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Who is there?
    Discover,
    /// I take this offer; at port 4011: which file?
    Request,
    /// I have an address, tell me the rest.
    Inform,
}

/// Which of the two network-boot protocols of option 60 a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VendorClass {
    /// `PXEClient`.
    Pxe,
    /// `HTTPClient`: UEFI HTTP Boot.
    Http,
}

impl VendorClass {
    /// The text that a reply must carry in its option 60 for the client to look at it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Pxe => "PXEClient",
            Self::Http => "HTTPClient",
        }
    }
}

/// A network-boot client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRequest {
    /// What it wants.
    pub kind: MessageKind,
    /// Its transaction.
    pub xid: u32,
    /// Seconds since it began to ask.
    pub secs: u16,
    /// It can only be reached by broadcast.
    pub broadcast: bool,
    /// The address that it has, or 0.0.0.0.
    pub ciaddr: Ipv4Addr,
    /// The relay that passed the message on, or 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// Its network card.
    pub mac: Mac,
    /// Option 60.
    pub vendor_class: VendorClass,
    /// Options 60, 77, 93 and 175, judged.
    pub firmware: Firmware,
    /// Option 93 as it came, or the code in option 60: what [`Firmware`] was made from.
    pub architecture_code: u16,
    /// iPXE that cannot fetch by HTTP, as in some cards' own ROM. It is served like firmware, and wants file names as URLs.
    pub bare_ipxe: bool,
    /// Option 94, the version of the network interface: type, major, minor.
    pub interface_version: Option<[u8; 3]>,
    /// Option 97 as it came, empty or 17 bytes; echoed.
    pub machine_id: Option<Vec<u8>>,
    /// Option 77: the user classes.
    pub user_classes: Vec<Vec<u8>>,
    /// Option 61.
    pub client_id: Option<Vec<u8>>,
    /// Option 57: the longest message that it takes.
    pub max_message: Option<u16>,
    /// Option 54: the server that it means.
    pub server_id: Option<Ipv4Addr>,
    /// Option 50.
    pub requested_address: Option<Ipv4Addr>,
    /// Option 55: what it would like to know.
    pub parameters: Vec<u8>,
    /// Option 43, sub-option 71.
    pub boot_item: Option<BootItem>,
    /// Option 82 as the relay wrote it; echoed (RFC 3046 section 2.2).
    pub relay_information: Option<Vec<u8>>,
}

/// Why a packet is none of ours. Nothing of it is worth more than a debug line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// Shorter than a DHCP header.
    #[error("a packet of {0} bytes is too short for DHCP")]
    TooShort(usize),
    /// Plain BOOTP, or not DHCP at all.
    #[error("the packet has no DHCP magic cookie")]
    NoCookie,
    /// A server's message.
    #[error("the packet is not a client's message")]
    NotARequest,
    /// Not an Ethernet address.
    #[error("the hardware type {htype} with addresses of {hlen} bytes is not Ethernet")]
    NotEthernet {
        /// The field `htype`.
        htype: u8,
        /// The field `hlen`.
        hlen: u8,
    },
    /// A group address or none.
    #[error("the hardware address is not that of one network card")]
    NotOneCard,
    /// An address that no reply can be sent to alone.
    #[error("{0} is not the address of one host")]
    NotOneHost(Ipv4Addr),
    /// A kind of message that boot clients do not send to us.
    #[error("message type {0:?} is not answered")]
    Kind(Option<u8>),
    /// An ordinary client: the school's DHCP server is there for it.
    #[error("not a network-boot client")]
    NotABootClient,
    /// Option 97 must be empty or 17 bytes with a leading zero (RFC 4578 section 2.3).
    #[error("the machine identifier (option 97) is malformed")]
    MachineId,
}

impl BootRequest {
    /// Reads a datagram.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotOurs> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(NotOurs::TooShort(bytes.len()))?;
        if header.last_chunk() != Some(&COOKIE) {
            return Err(NotOurs::NoCookie);
        }
        let [op, htype, hlen, ..] = *header;
        if op != BOOT_REQUEST {
            return Err(NotOurs::NotARequest);
        }
        if (htype, hlen) != ETHERNET {
            return Err(NotOurs::NotEthernet { htype, hlen });
        }
        let message = borrowed::Message::new(bytes).map_err(|_| NotOurs::TooShort(bytes.len()))?;
        let mac = Mac(message.chaddr().first_chunk().copied().ok_or(NotOurs::NotEthernet { htype, hlen })?);
        if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
            return Err(NotOurs::NotOneCard);
        }
        for address in [message.ciaddr(), message.giaddr()] {
            // A forged one would turn our answer into a broadcast elsewhere.
            if address.is_multicast() || address.is_broadcast() {
                return Err(NotOurs::NotOneHost(address));
            }
        }
        let options = Options::read(&message);
        let kind = match options.byte(53) {
            Some(1) => MessageKind::Discover,
            Some(3) => MessageKind::Request,
            Some(8) => MessageKind::Inform,
            other => return Err(NotOurs::Kind(other)),
        };
        let class_text = trim_nul(options.get(60).unwrap_or_default());
        let vendor_class = if class_text.starts_with(b"PXEClient") {
            VendorClass::Pxe
        } else if class_text.starts_with(b"HTTPClient") {
            VendorClass::Http
        } else {
            return Err(NotOurs::NotABootClient);
        };
        let architecture_code =
            options.short(93).or_else(|| architecture_of(class_text)).ok_or(NotOurs::NotABootClient)?;
        let machine_id = options.get(97).map(<[u8]>::to_vec);
        if !machine_id.as_deref().is_none_or(|id| id.is_empty() || (id.len() == 17 && id.first() == Some(&0))) {
            return Err(NotOurs::MachineId);
        }
        let user_classes = user_classes(options.get(77).unwrap_or_default());
        let ipxe_options = options.get(IPXE_OPTIONS);
        let is_ipxe = ipxe_options.is_some() || user_classes.iter().any(|class| class == b"iPXE");
        let has_http = ipxe_options.is_none_or(|options| {
            SubOptions(options)
                .any(|(code, data)| code == IPXE_HTTP && data.first().is_some_and(|version| *version > 0))
        });
        let loader = match vendor_class {
            _ if is_ipxe && has_http => Loader::Ipxe,
            VendorClass::Pxe => Loader::Pxe,
            VendorClass::Http => Loader::Http,
        };
        Ok(Self {
            kind,
            xid: message.xid(),
            secs: message.secs(),
            broadcast: message.flags().broadcast(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            mac,
            vendor_class,
            firmware: Firmware { architecture: Architecture::from_code(architecture_code), loader },
            architecture_code,
            bare_ipxe: is_ipxe && !has_http,
            interface_version: options.get(94).and_then(|version| version.try_into().ok()),
            machine_id,
            user_classes,
            client_id: options.get(61).map(<[u8]>::to_vec),
            max_message: options.short(57),
            server_id: options.address(54),
            requested_address: options.address(50),
            parameters: options.get(55).unwrap_or_default().to_vec(),
            boot_item: options.get(43).and_then(pxe::boot_item),
            relay_information: options.get(82).map(<[u8]>::to_vec),
        })
    }

    /// The machine's UUID, if the firmware knows one.
    pub fn uuid(&self) -> Option<MachineUuid> {
        let raw = self.machine_id.as_deref()?.last_chunk()?;
        MachineUuid::from_smbios(raw)
    }
}

/// The options of one message; of an option that comes twice apart, the first counts.
struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    fn read(message: &borrowed::Message<'_>) -> Self {
        Self(message.opts().map(|option| (option.code().into(), option.data().to_vec())).collect())
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|(given, _)| *given == code).map(|(_, data)| data.as_slice())
    }

    fn byte(&self, code: u8) -> Option<u8> {
        self.get(code)?.first().copied()
    }

    /// A number of two bytes, the first of a list.
    fn short(&self, code: u8) -> Option<u16> {
        self.get(code)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.get(code)?.try_into().ok()?;
        Some(bytes.into())
    }
}

/// Strings of buggy ROMs carry their terminator.
fn trim_nul(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// The code inside `PXEClient:Arch:00007:UNDI:003000`, for clients that leave option 93 out.
fn architecture_of(class_text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(class_text).ok()?;
    let mut parts = text.split(':').skip_while(|part| *part != "Arch");
    let digits = parts.nth(1)?;
    if digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Option 77: iPXE sends one bare text; RFC 3004 wants each class with its length before it.
fn user_classes(data: &[u8]) -> Vec<Vec<u8>> {
    let mut classes = Vec::new();
    let mut rest = data;
    while let Some((&len, tail)) = rest.split_first() {
        match tail.split_at_checked(usize::from(len)) {
            Some((class, tail)) if len > 0 => {
                classes.push(class.to_vec());
                rest = tail;
            }
            _ => return vec![trim_nul(data).to_vec()],
        }
    }
    classes
}
