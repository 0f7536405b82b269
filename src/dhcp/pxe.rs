//! The sub-options of DHCP option 43 for PXE clients (PXE 2.1 section 2.1.4; RFC 4578 leaves them there).

/// Sub-option 6, how the client finds boot servers.
const DISCOVERY_CONTROL: u8 = 6;
/// Sub-option 71, which boot server and layer the client asks for.
const BOOT_ITEM: u8 = 71;
const PAD: u8 = 0;
const END: u8 = 255;

/// Bit 3 of [`DISCOVERY_CONTROL`]: no menu and no discovery, take the file that is named here.
const TAKE_THE_FILE: u8 = 8;

/// What a client asks a boot server for, from a menu that somebody showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootItem {
    /// The kind of boot server.
    pub server_type: u16,
    /// The layer; its highest bit asks for credentials.
    pub layer: u16,
}

/// Reads the boot item of a client's option 43, if it has one.
pub fn boot_item(vendor_options: &[u8]) -> Option<BootItem> {
    SubOptions(vendor_options).find_map(|(code, data)| match (code, data) {
        (BOOT_ITEM, &[a, b, c, d]) => {
            Some(BootItem { server_type: u16::from_be_bytes([a, b]), layer: u16::from_be_bytes([c, d]) })
        }
        _ => None,
    })
}

/// Writes option 43 for a reply: `take_the_file` tells the client to start the named file at once, `item` echoes what it
/// asked for. Empty if there is nothing to say.
pub fn vendor_options(take_the_file: bool, item: Option<BootItem>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if take_the_file {
        bytes.extend([DISCOVERY_CONTROL, 1, TAKE_THE_FILE]);
    }
    if let Some(item) = item {
        bytes.extend([BOOT_ITEM, 4]);
        bytes.extend(item.server_type.to_be_bytes());
        bytes.extend(item.layer.to_be_bytes());
    }
    if !bytes.is_empty() {
        bytes.push(END);
    }
    bytes
}

/// Encapsulated options: code, length, data. Ends at the first that does not fit; DHCP option 175 has the same form.
#[derive(Debug, Clone)]
pub struct SubOptions<'a>(pub &'a [u8]);

impl<'a> Iterator for SubOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&code, rest) = self.0.split_first()?;
            match code {
                PAD => self.0 = rest,
                END => return None,
                _ => {
                    let (&len, rest) = rest.split_first()?;
                    let (data, rest) = rest.split_at_checked(usize::from(len))?;
                    self.0 = rest;
                    return Some((code, data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bios_is_told_to_take_the_file() {
        assert_eq!(vendor_options(true, None), [6, 1, 8, 255]);
        assert_eq!(vendor_options(false, None), [] as [u8; 0]);
    }

    proptest! {
        #[test]
        fn a_boot_item_survives(server_type: u16, layer: u16, take: bool) {
            let item = BootItem { server_type, layer };
            prop_assert_eq!(boot_item(&vendor_options(take, Some(item))), Some(item));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = boot_item(&bytes);
            let read: usize = SubOptions(&bytes).map(|(_, data)| data.len() + 2).sum();
            prop_assert!(read <= bytes.len());
        }
    }
}
