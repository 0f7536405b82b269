//! The wire format: RFC 1350 section 5, options as in RFC 2347.

use thiserror::Error;

/// The largest request that is looked at. RFC 2347 limits requests to 512 bytes.
pub const REQUEST_BYTES: usize = 512;

/// The longest error text that is kept.
const MESSAGE_BYTES: usize = 200;

/// More options than any client sends.
const OPTIONS: usize = 32;

/// Why a datagram is not a TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PacketError {
    /// It ends too early.
    #[error("packet ends too early")]
    Short,
    /// It is longer than any packet of its kind.
    #[error("request is longer than {REQUEST_BYTES} bytes")]
    Long,
    /// No such operation.
    #[error("unknown operation {0}")]
    Operation(u16),
    /// A string without its terminating zero.
    #[error("string without an end")]
    Unterminated,
    /// A file name or mode that is not text.
    #[error("file name or mode is not UTF-8")]
    NotText,
    /// An empty file name.
    #[error("request without a file name")]
    NoName,
    /// A transfer mode that does not exist, or `mail`, which RFC 1350 calls obsolete.
    #[error("unknown transfer mode")]
    Mode,
    /// More options than any client sends.
    #[error("request with more than {OPTIONS} options")]
    Options,
}

/// The error codes of RFC 1350 and RFC 2347.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 0: see the text.
    Undefined,
    /// 1: file not found.
    NotFound,
    /// 2: access violation; also the answer to writing.
    Access,
    /// 3: disk full.
    DiskFull,
    /// 4: illegal operation.
    Illegal,
    /// 5: unknown transfer (port).
    UnknownTransfer,
    /// 6: file already exists.
    Exists,
    /// 7: no such user.
    NoUser,
    /// 8: the transfer should not go on because of its options; firmware ends its size probes with it.
    OptionRefused,
    /// Any other.
    Other(u16),
}

impl ErrorCode {
    /// From its number.
    pub fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Undefined,
            1 => Self::NotFound,
            2 => Self::Access,
            3 => Self::DiskFull,
            4 => Self::Illegal,
            5 => Self::UnknownTransfer,
            6 => Self::Exists,
            7 => Self::NoUser,
            8 => Self::OptionRefused,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> u16 {
        match self {
            Self::Undefined => 0,
            Self::NotFound => 1,
            Self::Access => 2,
            Self::DiskFull => 3,
            Self::Illegal => 4,
            Self::UnknownTransfer => 5,
            Self::Exists => 6,
            Self::NoUser => 7,
            Self::OptionRefused => 8,
            Self::Other(other) => other,
        }
    }
}

/// The options that the server knows, as asked for or as granted. An option that a client sent with a value outside its
/// range is as good as not sent (RFC 2347: it is not acknowledged).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `blksize`, 8 to 65464 bytes (RFC 2348).
    pub block_size: Option<u16>,
    /// `timeout`, 1 to 255 seconds (RFC 2349).
    pub timeout: Option<u8>,
    /// `tsize`, bytes (RFC 2349); a reading client sends 0.
    pub transfer_size: Option<u64>,
    /// `windowsize`, 1 to 65535 blocks (RFC 7440).
    pub window_size: Option<u16>,
}

impl Options {
    /// Whether no option is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes one option; of a repeated one the first counts.
    fn take(&mut self, name: &[u8], value: &[u8]) {
        // `str::parse` would take a leading plus sign, which no RFC does.
        let number = || -> Option<u64> {
            let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
            text.parse().ok()
        };
        let within = |low: u64, high: u64| number().filter(|number| (low..=high).contains(number));
        if name.eq_ignore_ascii_case(b"blksize") {
            let asked = within(8, 65464).and_then(|number| u16::try_from(number).ok());
            self.block_size = self.block_size.or(asked);
        } else if name.eq_ignore_ascii_case(b"timeout") {
            let asked = within(1, 255).and_then(|number| u8::try_from(number).ok());
            self.timeout = self.timeout.or(asked);
        } else if name.eq_ignore_ascii_case(b"tsize") {
            self.transfer_size = self.transfer_size.or_else(number);
        } else if name.eq_ignore_ascii_case(b"windowsize") {
            let asked = within(1, 65535).and_then(|number| u16::try_from(number).ok());
            self.window_size = self.window_size.or(asked);
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let options = [
            ("tsize", self.transfer_size),
            ("blksize", self.block_size.map(u64::from)),
            ("timeout", self.timeout.map(u64::from)),
            ("windowsize", self.window_size.map(u64::from)),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                push_text(out, name);
                push_text(out, &value.to_string());
            }
        }
    }
}

/// A read or write request. The mode is not kept: `netascii` is served like `octet`, since no boot file is text that
/// would profit, and clients that ask for it by habit want the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The file, as the client spelled it.
    pub file: &'a str,
    /// What it asks for.
    pub options: Options,
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// 1: wants to read.
    Read(Request<'a>),
    /// 2: wants to write.
    Write(Request<'a>),
    /// 3: a block.
    Data {
        /// Its number, modulo 65536.
        block: u16,
        /// Its bytes.
        payload: &'a [u8],
    },
    /// 4: a block has arrived. Bytes behind the number are allowed: Microsoft's loaders append one.
    Ack {
        /// Its number, modulo 65536.
        block: u16,
    },
    /// 5: the transfer ends.
    Error {
        /// Why.
        code: ErrorCode,
        /// Why, in words.
        message: String,
    },
    /// 6: the options granted.
    OptionAck(Options),
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`PacketError`] for anything that is not a TFTP packet.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let (operation, rest) = number(datagram)?;
        match operation {
            1 => Ok(Self::Read(request(datagram, rest)?)),
            2 => Ok(Self::Write(request(datagram, rest)?)),
            3 => number(rest).map(|(block, payload)| Self::Data { block, payload }),
            4 => number(rest).map(|(block, _)| Self::Ack { block }),
            5 => {
                let (code, text) = number(rest)?;
                // Some clients leave out the end of the text.
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = text.get(..MESSAGE_BYTES).unwrap_or(text);
                Ok(Self::Error {
                    code: ErrorCode::from_number(code),
                    message: String::from_utf8_lossy(text).into_owned(),
                })
            }
            6 => options(rest).map(Self::OptionAck),
            other => Err(PacketError::Operation(other)),
        }
    }

    /// The packet as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Read(request) | Self::Write(request) => {
                push_number(&mut out, if matches!(self, Self::Read(_)) { 1 } else { 2 });
                push_text(&mut out, request.file);
                push_text(&mut out, "octet");
                request.options.encode(&mut out);
            }
            Self::Data { block, payload } => {
                push_number(&mut out, 3);
                push_number(&mut out, *block);
                out.extend_from_slice(payload);
            }
            Self::Ack { block } => {
                push_number(&mut out, 4);
                push_number(&mut out, *block);
            }
            Self::Error { code, message } => {
                push_number(&mut out, 5);
                push_number(&mut out, code.number());
                push_text(&mut out, message);
            }
            Self::OptionAck(options) => {
                push_number(&mut out, 6);
                options.encode(&mut out);
            }
        }
        out
    }
}

/// An error packet.
pub(crate) fn error(code: ErrorCode, message: &str) -> Vec<u8> {
    Packet::Error { code, message: message.to_owned() }.encode()
}

/// The head of a block: operation 3 and the number.
pub(crate) fn data_head(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 3, high, low]
}

fn request<'a>(datagram: &[u8], rest: &'a [u8]) -> Result<Request<'a>, PacketError> {
    if datagram.len() > REQUEST_BYTES {
        return Err(PacketError::Long);
    }
    let (file, rest) = text(rest)?;
    let (mode, rest) = text(rest)?;
    let file = std::str::from_utf8(file).map_err(|_| PacketError::NotText)?;
    if file.is_empty() {
        return Err(PacketError::NoName);
    }
    if !mode.eq_ignore_ascii_case(b"octet") && !mode.eq_ignore_ascii_case(b"netascii") {
        return Err(PacketError::Mode);
    }
    Ok(Request { file, options: options(rest)? })
}

/// Pairs of name and value. What is left behind the last whole pair is padding, which some ROMs send.
fn options(mut rest: &[u8]) -> Result<Options, PacketError> {
    let mut options = Options::default();
    for _ in 0..OPTIONS {
        let Ok((name, behind)) = text(rest) else { return Ok(options) };
        let Ok((value, behind)) = text(behind) else { return Ok(options) };
        options.take(name, value);
        rest = behind;
    }
    if rest.is_empty() { Ok(options) } else { Err(PacketError::Options) }
}

fn number(bytes: &[u8]) -> Result<(u16, &[u8]), PacketError> {
    match bytes {
        [high, low, rest @ ..] => Ok((u16::from_be_bytes([*high, *low]), rest)),
        _ => Err(PacketError::Short),
    }
}

fn text(bytes: &[u8]) -> Result<(&[u8], &[u8]), PacketError> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(PacketError::Unterminated)?;
    match (bytes.get(..end), bytes.get(end.saturating_add(1)..)) {
        (Some(text), Some(rest)) => Ok((text, rest)),
        _ => Err(PacketError::Unterminated),
    }
}

fn push_number(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.push(0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::tftp::packet::{ErrorCode, Options, Packet, PacketError, Request};

    /// What OVMF 2025.02 sent in a capture: a size probe, and how it ends it.
    #[test]
    fn firmware_requests_are_read_as_they_come() {
        let probe = b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
        let options =
            Options { block_size: Some(1468), transfer_size: Some(0), window_size: Some(4), ..Options::default() };
        assert_eq!(Packet::decode(probe), Ok(Packet::Read(Request { file: "snponly.efi", options })));
        let abort = b"\0\x05\0\x08User aborted the transfer\0";
        let message = "User aborted the transfer".to_owned();
        assert_eq!(Packet::decode(abort), Ok(Packet::Error { code: ErrorCode::OptionRefused, message }));
    }

    #[test]
    fn microsoft_options_are_left_out_and_its_longer_ack_is_read() {
        let request = b"\0\x01\\Boot\\BCD\0octet\0blksize\x001456\0msftwindow\x0031416\0";
        let Ok(Packet::Read(request)) = Packet::decode(request) else { panic!("a request") };
        assert_eq!(request.file, "\\Boot\\BCD");
        assert_eq!(request.options, Options { block_size: Some(1456), ..Options::default() });
        assert_eq!(Packet::decode(b"\0\x04\x12\x34\x08"), Ok(Packet::Ack { block: 0x1234 }));
    }

    #[test]
    fn values_out_of_range_are_as_good_as_not_sent() {
        let request = b"\0\x01f\0OCTET\0BLKSIZE\x007\0timeout\x00256\0tsize\x00-1\0windowsize\x00+4\0windowsize\x008\0";
        let Ok(Packet::Read(request)) = Packet::decode(request) else { panic!("a request") };
        assert_eq!(request.options, Options { window_size: Some(8), ..Options::default() });
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_reason() {
        let long = [b"\0\x01".as_slice(), &[b'a'; 600], b"\0octet\0"].concat();
        let many = [b"\0\x01f\0octet\0".as_slice(), &b"a\0b\0".repeat(33)].concat();
        let cases: [(&[u8], PacketError); 9] = [
            (b"", PacketError::Short),
            (b"\0\x04\0", PacketError::Short),
            (b"\0\x09", PacketError::Operation(9)),
            (b"\0\x01file", PacketError::Unterminated),
            (b"\0\x01\0octet\0", PacketError::NoName),
            (b"\0\x01f\0mail\0", PacketError::Mode),
            (b"\0\x01\xff\0octet\0", PacketError::NotText),
            (&long, PacketError::Long),
            (&many, PacketError::Options),
        ];
        for (datagram, error) in cases {
            assert_eq!(Packet::decode(datagram), Err(error));
        }
    }

    fn any_options() -> impl Strategy<Value = Options> {
        let block_size = proptest::option::of(8..=65464u16);
        let window_size = proptest::option::of(1..=65535u16);
        let timeout = proptest::option::of(1..=255u8);
        (block_size, timeout, proptest::option::of(any::<u64>()), window_size).prop_map(
            |(block_size, timeout, transfer_size, window_size)| Options {
                block_size,
                timeout,
                transfer_size,
                window_size,
            },
        )
    }

    proptest! {
        #[test]
        fn no_datagram_is_too_strange(datagram in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Packet::decode(&datagram);
        }

        #[test]
        fn no_request_is_too_strange(tail in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..100)) {
            let _ = Packet::decode(&[b"\0\x01".as_slice(), &tail].concat());
        }

        #[test]
        fn packets_come_back_as_they_were(
            file in "[a-zA-Z0-9/\\\\._-]{1,200}", options in any_options(), block: u16,
            payload in proptest::collection::vec(any::<u8>(), 0..100), code: u16, message in "[ -~]{0,100}",
        ) {
            let request = Request { file: &file, options };
            for packet in [
                Packet::Read(request.clone()), Packet::Write(request), Packet::Data { block, payload: &payload },
                Packet::Ack { block }, Packet::Error { code: ErrorCode::from_number(code), message }, Packet::OptionAck(options),
            ] {
                let bytes = packet.encode();
                prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
            }
        }
    }
}
