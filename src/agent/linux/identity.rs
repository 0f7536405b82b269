//! Who this PC is, as Linux shows it: for an agent that is started by hand.

use std::fs;
use std::path::PathBuf;

use crate::disk::usage::KernelView;
use crate::room::{Mac, MachineUuid};

/// Why the network card to go by is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// There is none.
    #[error("this PC has no network card that Linux knows; give its address with --mac")]
    None,
    /// There is more than one.
    #[error("this PC has several network cards ({}); say with --mac which one its profile names", list(.0))]
    Several(Vec<(String, Mac)>),
}

fn list(cards: &[(String, Mac)]) -> String {
    let cards: Vec<String> = cards.iter().map(|(name, mac)| format!("{name} {mac}")).collect();
    cards.join(", ")
}

/// The address of this PC's network card: of the only one, else of the only one that has a link. What is no piece of
/// hardware (bridges, tunnels, loopback) is left out.
pub fn mac(view: &KernelView) -> Result<Mac, CardError> {
    let mut cards: Vec<(String, Mac, bool)> = Vec::new();
    for entry in fs::read_dir(view.sys.join("class/net")).into_iter().flatten().flatten() {
        let folder = entry.path();
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default().trim().to_owned();
        if let (true, Ok(mac)) = (folder.join("device").exists(), text("address").parse()) {
            cards.push((entry.file_name().to_string_lossy().into_owned(), mac, text("carrier") == "1"));
        }
    }
    cards.sort_by(|a, b| a.0.cmp(&b.0));
    let linked: Vec<Mac> = cards.iter().filter(|(_, _, link)| *link).map(|(_, mac, _)| *mac).collect();
    match (cards.as_slice(), linked.as_slice()) {
        ([], _) => Err(CardError::None),
        ([(_, mac, _)], _) | (_, [mac]) => Ok(*mac),
        _ => Err(CardError::Several(cards.into_iter().map(|(name, mac, _)| (name, mac)).collect())),
    }
}

/// This PC's SMBIOS UUID, where the firmware has one and this process may read it.
pub fn uuid(view: &KernelView) -> Option<MachineUuid> {
    let path: PathBuf = view.sys.join("class/dmi/id/product_uuid");
    let uuid: MachineUuid = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // All zero or all one is what firmware without one says.
    MachineUuid::from_smbios(&uuid.to_smbios())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(view: &KernelView, name: &str, mac: &str, link: &str, hardware: bool) {
        let folder = view.sys.join("class/net").join(name);
        fs::create_dir_all(if hardware { folder.join("device") } else { folder.clone() }).unwrap();
        fs::write(folder.join("address"), format!("{mac}\n")).unwrap();
        fs::write(folder.join("carrier"), link).unwrap();
    }

    #[test]
    fn the_card_with_the_link_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let view = KernelView { proc: folder.path().join("proc"), sys: folder.path().join("sys") };
        assert_eq!(mac(&view), Err(CardError::None));
        card(&view, "br0", "52:54:00:00:00:09", "1\n", false);
        card(&view, "eth0", "52:54:00:00:00:01", "0\n", true);
        assert_eq!(mac(&view), Ok("52:54:00:00:00:01".parse().unwrap()));
        card(&view, "eth1", "52:54:00:00:00:02", "1\n", true);
        assert_eq!(mac(&view), Ok("52:54:00:00:00:02".parse().unwrap()));
        card(&view, "wlan0", "52:54:00:00:00:03", "1\n", true);
        let error = mac(&view).unwrap_err().to_string();
        assert!(error.contains("eth0 52:54:00:00:00:01, eth1") && error.contains("--mac"), "{error}");
    }

    #[test]
    fn a_uuid_of_zeros_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let view = KernelView { proc: folder.path().join("proc"), sys: folder.path().to_owned() };
        let file = folder.path().join("class/dmi/id");
        fs::create_dir_all(&file).unwrap();
        assert_eq!(uuid(&view), None);
        fs::write(file.join("product_uuid"), "4C4C4544-0042-4A10-8052-B4C04F513233\n").unwrap();
        assert_eq!(uuid(&view), Some("4c4c4544-0042-4a10-8052-b4c04f513233".parse().unwrap()));
        fs::write(file.join("product_uuid"), "00000000-0000-0000-0000-000000000000\n").unwrap();
        assert_eq!(uuid(&view), None);
    }
}
