//! The firmware of a simulated PC: DHCP as PXE firmware and iPXE speak it, the first file, the script, and what makes a disk
//! bootable.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use dhcproto::v4::{self, DhcpOption, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};

use crate::boot::firmware::{Architecture, Firmware, Loader};
use crate::boot::start::StartParameters;
use crate::disk::Disk;
use crate::image::FirmwareKind;
use crate::room::{Mac, MachineUuid};
use crate::sim::record::{Record, Recorded};
use crate::sim::tftp;

/// How long firmware waits for an answer before it asks again, and how often it does.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Where the server's network services are on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// In place of port 67.
    pub dhcp: SocketAddr,
    /// In place of port 4011.
    pub proxy: SocketAddr,
    /// In place of port 69.
    pub tftp: SocketAddr,
}

/// The identity that firmware sends.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The network card.
    pub mac: Mac,
    /// The SMBIOS UUID.
    pub uuid: Option<MachineUuid>,
    /// The kind of firmware.
    pub firmware: FirmwareKind,
}

impl Identity {
    fn architecture(&self) -> (Architecture, u16) {
        match self.firmware {
            FirmwareKind::Bios => (Architecture::Bios, 0),
            FirmwareKind::Uefi => (Architecture::UefiX64, 7),
        }
    }

    fn asks(&self, loader: Loader) -> Firmware {
        Firmware { architecture: self.architecture().0, loader }
    }
}

/// What a network boot came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Booted {
    /// Nobody answered, or the answer was to start the disk.
    Disk,
    /// The boot environment runs with these parameters.
    Environment(StartParameters),
}

/// Boots from the network: PXE, the first file, iPXE, the script, the boot environment's files.
///
/// # Errors
/// When a file that was promised does not come, or an answer makes no sense.
pub fn boot(identity: &Identity, network: &Network, record: &Record) -> io::Result<Booted> {
    let pxe = identity.asks(Loader::Pxe);
    let Some(file) = ask(identity, network, false)? else {
        record.add(Recorded::Asked { asks: pxe, got: None });
        return Ok(Booted::Disk);
    };
    record.add(Recorded::Asked { asks: pxe, got: Some(file.clone()) });
    let bytes = tftp::fetch(network.tftp, &file)?;
    record.add(Recorded::fetched(&file, &bytes));
    let Some(url) = ask(identity, network, true)? else {
        record.add(Recorded::Asked { asks: identity.asks(Loader::Ipxe), got: None });
        return Ok(Booted::Disk);
    };
    record.add(Recorded::Asked { asks: identity.asks(Loader::Ipxe), got: Some(url.clone()) });
    let script = get(&url)?;
    record.add(Recorded::fetched(&url, &script));
    run_script(&String::from_utf8_lossy(&script), record)
}

/// Runs a boot script as far as a PC without surprises would get: to `boot`, or to the disk.
fn run_script(script: &str, record: &Record) -> io::Result<Booted> {
    let mut start = None;
    for line in script.lines().map(str::trim) {
        let command = line.split(" || ").next().unwrap_or(line);
        let mut words = command.split_whitespace();
        match words.next() {
            Some("kernel") => {
                let url = words.next().ok_or_else(|| io::Error::other("a kernel line without an address"))?;
                record.add(Recorded::fetched(url, &get(url)?));
                start = start.or(StartParameters::from_command_line(command).ok());
            }
            Some("initrd") => {
                let url = words.find(|word| word.starts_with("http://"));
                let url = url.ok_or_else(|| io::Error::other("an initrd line without an address"))?;
                let bytes = get(url)?;
                record.add(Recorded::fetched(url, &bytes));
                if url.ends_with("klonwerk.ini") {
                    start = start.or(StartParameters::from_ini(&String::from_utf8_lossy(&bytes)).ok());
                }
            }
            Some("boot") => {
                return start
                    .map(Booted::Environment)
                    .ok_or_else(|| io::Error::other("the script starts something without parameters for the agent"));
            }
            Some("sanboot" | "exit") => return Ok(Booted::Disk),
            _ => {}
        }
    }
    Ok(Booted::Disk)
}

fn get(url: &str) -> io::Result<Vec<u8>> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .user_agent("iPXE/1.21.1")
        .proxy(None)
        .build()
        .new_agent();
    let mut response = agent.get(url).call().map_err(io::Error::other)?;
    response.body_mut().with_config().limit(1 << 30).read_to_vec().map_err(io::Error::other)
}

/// Asks for a boot file: DISCOVER, and at the proxy's own port where the offer names none.
fn ask(identity: &Identity, network: &Network, ipxe: bool) -> io::Result<Option<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let Some(offer) = exchange(&socket, network.dhcp, identity, MessageType::Discover, ipxe)? else { return Ok(None) };
    if let Some(file) = boot_file(&offer) {
        return Ok(Some(file));
    }
    let answer = exchange(&socket, network.proxy, identity, MessageType::Request, ipxe)?;
    Ok(answer.as_ref().and_then(boot_file))
}

fn exchange(
    socket: &UdpSocket,
    server: SocketAddr,
    identity: &Identity,
    kind: MessageType,
    ipxe: bool,
) -> io::Result<Option<v4::Message>> {
    let mut id = [0; 4];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let xid = u32::from_be_bytes(id);
    let packet = message(identity, kind, ipxe, xid)?;
    let mut buffer = [0; 2048];
    for wait in PATIENCE {
        socket.send_to(&packet, server)?;
        let until = std::time::Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv_from(&mut buffer) {
                Ok((len, _)) => {
                    let bytes = buffer.get(..len).unwrap_or_default();
                    let reply = v4::Message::decode(&mut Decoder::new(bytes)).map_err(io::Error::other)?;
                    if reply.xid() == xid && reply.opcode() == v4::Opcode::BootReply {
                        return Ok(Some(reply));
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

fn message(identity: &Identity, kind: MessageType, ipxe: bool, xid: u32) -> io::Result<Vec<u8>> {
    let any = Ipv4Addr::UNSPECIFIED;
    let mut message = v4::Message::new_with_id(xid, any, any, any, any, &identity.mac.0);
    message.set_flags(v4::Flags::default().set_broadcast());
    let code = identity.architecture().1;
    let mut id = vec![0];
    id.extend_from_slice(&identity.uuid.map_or([0; 16], |uuid| uuid.to_smbios()));
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::VendorExtensions,
        OptionCode::ClassIdentifier,
        OptionCode::BootfileName,
    ]));
    options.insert(DhcpOption::MaxMessageSize(1472));
    options.insert(DhcpOption::ClassIdentifier(format!("PXEClient:Arch:{code:05}:UNDI:003000").into_bytes()));
    options.insert(DhcpOption::ClientSystemArchitecture(code.into()));
    options.insert(DhcpOption::ClientNetworkInterface(1, 3, 0));
    options.insert(DhcpOption::ClientMachineIdentifier(id));
    if ipxe {
        options.insert(DhcpOption::UserClass(b"iPXE".to_vec()));
    }
    message.to_vec().map_err(io::Error::other)
}

fn boot_file(reply: &v4::Message) -> Option<String> {
    let named = match reply.opts().get(OptionCode::BootfileName) {
        Some(DhcpOption::BootfileName(name)) => Some(name.as_slice()),
        _ => reply.fname(),
    }?;
    let text = String::from_utf8_lossy(named);
    let text = text.trim_end_matches('\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether this firmware would start the disk: BIOS wants boot code and an active partition, UEFI a FAT file system on an
/// EFI system partition that the partition table names.
///
/// # Errors
/// What the disk said.
pub fn starts(disk: &dyn Disk, firmware: FirmwareKind) -> io::Result<bool> {
    let sector = u64::from(disk.sector_bytes());
    let read = |offset: u64| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; disk.sector_bytes() as usize];
        disk.read_at(offset, &mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    };
    let signed = |bytes: &[u8]| bytes.get(510..512) == Some(&[0x55, 0xaa]);
    let first = read(0)?;
    match firmware {
        FirmwareKind::Bios => {
            let active = (0..4).any(|i| first.get(446 + 16 * i) == Some(&0x80));
            let code = first.iter().take(440).any(|byte| *byte != 0);
            Ok(signed(&first) && active && code)
        }
        FirmwareKind::Uefi => {
            const ESP: [u8; 16] =
                [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
            let header = read(sector)?;
            if header.get(..8) != Some(b"EFI PART") {
                return Ok(false);
            }
            // 128 entries of 128 bytes behind the header, as every partitioning tool writes them.
            let mut entries = vec![0; 128 * 128];
            disk.read_at(2 * sector, &mut entries).map_err(io::Error::other)?;
            for entry in entries.as_chunks::<128>().0 {
                if entry.get(..16) == Some(&ESP)
                    && let Some(start) =
                        entry.get(32..40).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
                {
                    let boot = read(start.saturating_mul(sector))?;
                    let jump = matches!(boot.first(), Some(0xeb | 0xe9));
                    return Ok(signed(&boot) && jump);
                }
            }
            Ok(false)
        }
    }
}
