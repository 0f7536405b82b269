//! Which network interfaces lead to the PCs.

use std::net::Ipv4Addr;
use std::path::Path;

/// The kernel's IPv4 routes, as text.
const ROUTES: &str = "/proc/net/route";
/// `RTF_UP` and `RTF_GATEWAY` of that file.
const UP: u32 = 1;
const GATEWAY: u32 = 2;

/// Why the interfaces are not known.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// The kernel's table could not be read.
    #[error("cannot read {ROUTES}")]
    Routes(#[source] std::io::Error),
    /// No interface is in the server's own network.
    #[error(
        "no network interface has the network of {0}; write the server's own address into site.yaml, and its interfaces if \
         it has several"
    )]
    None(Ipv4Addr),
}

/// The interfaces that are directly in the network of `address`, in the order of the kernel's table.
pub fn towards(address: Ipv4Addr) -> Result<Vec<String>, InterfaceError> {
    let table = std::fs::read_to_string(Path::new(ROUTES)).map_err(InterfaceError::Routes)?;
    let found = in_table(&table, address);
    if found.is_empty() { Err(InterfaceError::None(address)) } else { Ok(found) }
}

/// Reads lines of interface, destination, gateway, flags, three counters and mask, addresses in the host's byte order.
fn in_table(table: &str, address: Ipv4Addr) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[name, destination, _, flags, _, _, _, mask, ..] = columns.as_slice() else { continue };
        let number = |text| u32::from_str_radix(text, 16).ok();
        let (Some(destination), Some(flags), Some(mask)) = (number(destination), number(flags), number(mask)) else {
            continue;
        };
        let address = u32::from_ne_bytes(address.octets());
        let connected = flags & UP != 0 && flags & GATEWAY == 0 && mask != 0;
        if connected && address & mask == destination && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
enp1s0	00000000	FE000A0A	0003	0	0	100	00000000	0	0	0
enp1s0	00000A0A	00000000	0001	0	0	100	00FFFFFF	0	0	0
lab0	00004D0A	00000000	0001	0	0	0	0000FFFF	0	0	0
lab0	00004D0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
tun0	00004D0A	0100630A	0003	0	0	0	00FFFFFF	0	0	0
cut line
";

    #[test]
    fn only_interfaces_in_the_same_network_count() {
        if cfg!(target_endian = "little") {
            assert_eq!(in_table(TABLE, Ipv4Addr::new(10, 77, 0, 1)), ["lab0"]);
            assert_eq!(in_table(TABLE, Ipv4Addr::new(10, 10, 0, 9)), ["enp1s0"]);
            assert_eq!(
                in_table(TABLE, Ipv4Addr::new(192, 168, 1, 1)),
                [] as [&str; 0],
                "a default route is no network"
            );
        }
        assert_eq!(in_table("", Ipv4Addr::LOCALHOST), [] as [&str; 0]);
    }
}
