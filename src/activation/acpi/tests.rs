use proptest::prelude::*;

use super::*;

const KEY: &[u8] = b"BCDFG-HJKMP-QRTVW-XY234-6789N";

#[test]
fn a_slic_table_names_its_vendor_and_its_marker() {
    let bytes = samples::slic(b"VENDOR", Some(0x2_0001));
    assert_eq!(bytes.len(), 374, "as Linux shows it on PCs that have one");
    let slic = slic(&bytes).unwrap();
    assert_eq!((slic.oem_id.as_str(), slic.oem_table_id.as_str()), ("VENDOR", "MODEL"));
    assert!(slic.consistent());
    assert_eq!(slic.marker.unwrap().version, 0x2_0001);
    let without = super::slic(&samples::slic(b"DELL  ", None)).unwrap();
    assert_eq!((without.oem_id.as_str(), without.marker.clone()), ("DELL", None));
    assert!(without.consistent());
}

#[test]
fn a_marker_of_another_vendor_is_seen() {
    let mut bytes = samples::slic(b"VENDOR", Some(0x2_0001));
    bytes[36 + 156 + 12..][..6].copy_from_slice(b"OTHER ");
    samples::sign(&mut bytes);
    assert!(!slic(&bytes).unwrap().consistent());
}

#[test]
fn damaged_tables_say_what_is_wrong() {
    let good = samples::slic(b"VENDOR", Some(0x2_0001));
    assert_eq!(slic(&good[..20]), Err(TableFault::CutShort));
    assert_eq!(slic(&good[..300]), Err(TableFault::CutShort));
    assert_eq!(slic(&samples::msdm(KEY)), Err(TableFault::Signature));
    assert_eq!(slic(b"SLIC\0\0\0\0"), Err(TableFault::CutShort));
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    assert_eq!(slic(&flipped), Err(TableFault::Checksum));
    for (at, value) in [(36 + 156 + 26, b'w'), (36 + 4, 155), (36 + 156 + 4, 7), (36 + 156 + 4, 255)] {
        let mut damaged = good.clone();
        damaged[at] = value;
        samples::sign(&mut damaged);
        assert_eq!(slic(&damaged), Err(TableFault::Content), "byte {at}");
    }
    let mut longer = good.clone();
    longer.extend([9; 100]);
    assert!(slic(&longer).is_ok(), "what follows the table does not count");
}

#[test]
fn a_firmware_key_is_counted_and_never_shown() {
    let bytes = samples::msdm(KEY);
    assert_eq!(bytes.len(), 85, "as Linux shows it on PCs that have one");
    let msdm = msdm(&bytes).unwrap();
    assert!(msdm.has_key);
    let shown = format!("{msdm:?} {}", serde_json::to_string(&msdm).unwrap());
    assert!(!shown.contains("BCDFG") && !shown.contains("6789N"), "{shown}");
    let key = firmware_key(&bytes).unwrap();
    assert_eq!(format!("{key:?}"), "*****-*****-*****-*****-6789N");
}

#[test]
fn what_is_no_key_is_none() {
    for text in
        [&b""[..], b"BCDFG-HJKMP-QRTVW-XY234-6789A", &[0; 29], &[b' '; 29], b"BCDFG-HJKMP-QRTVW-XY234", &[0xff; 29]]
    {
        assert_eq!(msdm(&samples::msdm(text)), Ok(Msdm { has_key: false }), "{text:?}");
    }
    let mut other = samples::msdm(KEY);
    other[44] = 2;
    samples::sign(&mut other);
    assert_eq!(msdm(&other), Ok(Msdm { has_key: false }), "another type of data");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = (slic(&bytes), msdm(&bytes), firmware_key(&bytes));
    }

    /// Past the checksum: hostile content under a right header.
    #[test]
    fn no_content_panics(content in proptest::collection::vec(any::<u8>(), 0..500), small in any::<bool>()) {
        // Small numbers reach the sub-tables more often than any.
        let content: Vec<u8> =
            content.iter().enumerate().map(|(at, b)| if small && at % 8 != 0 { b & 1 } else { *b }).collect();
        let _ = slic(&samples::table(b"SLIC", b"VENDOR", b"MODEL   ", &content));
        let bytes = samples::table(b"MSDM", b"VENDOR", b"MODEL   ", &content);
        prop_assert_eq!(msdm(&bytes).unwrap().has_key, firmware_key(&bytes).is_some());
    }

    #[test]
    fn no_change_of_a_good_table_panics(at in 0usize..374, value: u8, cut in 0usize..=374) {
        let mut bytes = samples::slic(b"VENDOR", Some(0x2_0001));
        bytes[at] = value;
        samples::sign(&mut bytes);
        let _ = slic(&bytes);
        let _ = slic(&bytes[..cut]);
    }
}
