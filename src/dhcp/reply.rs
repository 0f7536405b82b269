//! Writing replies that firmware takes.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, DhcpOptions, Flags, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};

use crate::dhcp::request::{BootRequest, VendorClass};

/// The length of a BOOTP message (RFC 951), which some ROMs take for the least.
const MIN_BYTES: usize = 300;
/// What every client takes (RFC 2131 section 2: 576 with IP and UDP headers), and EDK II's buffer at most.
const LEAST_MAX: u16 = 576;
const MOST_MAX: u16 = 1472;
/// IP and UDP headers, which some clients count in their option 57.
const IP_UDP_BYTES: u16 = 28;
/// The fields `sname` and `file`, with their terminator.
const SNAME_BYTES: usize = 64;
const FILE_BYTES: usize = 128;

/// Whether a reply offers or confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK.
    Ack,
}

/// A reply before it is bytes.
#[derive(Debug, Clone, Copy)]
pub struct BootReply<'a> {
    /// What it answers.
    pub request: &'a BootRequest,
    /// Offer or acknowledgement.
    pub kind: ReplyKind,
    /// Our address: the server of the reply and of the file.
    pub server: Ipv4Addr,
    /// The first file, as a name or a URL. UEFI PXE is told only at port 4011.
    pub file: Option<&'a str>,
    /// Option 43, empty for none.
    pub vendor_options: &'a [u8],
    /// Whether the client must be told that answers come by broadcast.
    pub broadcast: bool,
}

/// Why a reply cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// It is longer than the client takes.
    #[error("the reply would have {bytes} bytes and the client takes {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The client's limit.
        limit: usize,
    },
    /// The codec refused it.
    #[error("the reply cannot be encoded")]
    Encode(#[source] dhcproto::error::EncodeError),
}

impl BootReply<'_> {
    /// The datagram.
    ///
    /// Options stand in ascending order with option 82 last (RFC 3046 section 2.1), which is how the codec writes them.
    /// No option overload: some ROMs mishandle it.
    pub fn encode(&self) -> Result<Vec<u8>, ReplyError> {
        let request = self.request;
        let nobody = Ipv4Addr::UNSPECIFIED;
        let mut message =
            Message::new_with_id(request.xid, request.ciaddr, nobody, self.server, request.giaddr, &request.mac.0);
        message.set_opcode(Opcode::BootReply).set_secs(request.secs);
        let flags = Flags::default();
        message.set_flags(if self.broadcast || request.broadcast { flags.set_broadcast() } else { flags });

        let mut options = DhcpOptions::new();
        options.insert(DhcpOption::MessageType(match self.kind {
            ReplyKind::Offer => MessageType::Offer,
            ReplyKind::Ack => MessageType::Ack,
        }));
        options.insert(DhcpOption::ServerIdentifier(self.server));
        options.insert(DhcpOption::ClassIdentifier(request.vendor_class.text().into()));
        if let Some(id) = &request.machine_id {
            options.insert(DhcpOption::ClientMachineIdentifier(id.clone()));
        }
        if !self.vendor_options.is_empty() {
            options.insert(DhcpOption::VendorExtensions(self.vendor_options.to_vec()));
        }
        if let Some(relay) = &request.relay_information {
            options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::RelayAgentInformation, relay.clone())));
        }
        if let Some(file) = self.file {
            match request.vendor_class {
                // UEFI HTTP Boot takes the option's bytes as the URL.
                VendorClass::Http => options.insert(DhcpOption::BootfileName(file.into())),
                // BIOS ROMs read strings to the next NUL, past the option's end.
                VendorClass::Pxe => {
                    let server = self.server.to_string();
                    if server.len() < SNAME_BYTES {
                        message.set_sname(server.as_bytes());
                    }
                    if file.len() < FILE_BYTES {
                        message.set_fname(file.as_bytes());
                    }
                    options.insert(DhcpOption::TFTPServerName(with_nul(&server)));
                    options.insert(DhcpOption::BootfileName(with_nul(file)))
                }
            };
        }
        message.set_opts(options);

        let mut bytes = Vec::with_capacity(MIN_BYTES);
        message.encode(&mut Encoder::new(&mut bytes)).map_err(ReplyError::Encode)?;
        if bytes.len() < MIN_BYTES {
            bytes.resize(MIN_BYTES, 0);
        }
        let limit = request.max_message.unwrap_or(LEAST_MAX).clamp(LEAST_MAX, MOST_MAX) - IP_UDP_BYTES;
        let limit = usize::from(limit);
        if bytes.len() > limit { Err(ReplyError::TooLong { bytes: bytes.len(), limit }) } else { Ok(bytes) }
    }
}

fn with_nul(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}
