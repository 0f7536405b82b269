use proptest::prelude::*;

use super::*;
use crate::activation::acpi::{Marker, TableFault};
use crate::activation::hardware::Acpi;

fn seven(vendor: Option<&str>) -> WindowsFacts {
    WindowsFacts {
        build: Some(7601),
        key_channel: Some(KeyChannel::Oem),
        oem_vendor: vendor.map(str::to_owned),
        ..WindowsFacts::default()
    }
}

fn newer(build: u32) -> WindowsFacts {
    WindowsFacts { build: Some(build), ..WindowsFacts::default() }
}

fn slic(vendor: &str, version: Option<u32>) -> Table<Slic> {
    let (oem_id, oem_table_id) = (Label::new(vendor), Label::new("MODEL"));
    let marker = version.map(|version| Marker { oem_id: oem_id.clone(), oem_table_id: oem_table_id.clone(), version });
    Table::Present(Slic { oem_id, oem_table_id, marker })
}

fn pc(slic: Table<Slic>, msdm: Table<Msdm>) -> HardwareFacts {
    HardwareFacts { acpi: Acpi { slic, msdm }, ..HardwareFacts::default() }
}

fn with_slic(slic: Table<Slic>) -> HardwareFacts {
    pc(slic, Table::Absent)
}

fn with_msdm(msdm: Table<Msdm>) -> HardwareFacts {
    pc(Table::Absent, msdm)
}

#[test]
fn windows_7_wants_the_slic_table_of_its_vendor() {
    let dell = || with_slic(slic("DELL", Some(0x2_0001)));
    assert_eq!(fit(&seven(Some("dell ")), &dell()), Ok(OemFit::Slic { vendor: Label::new("DELL") }));
    assert!(fit(&seven(Some("DELL")), &with_slic(slic("DELL", Some(0x2_0003)))).is_ok(), "later tables serve too");
    let refused = |image: &WindowsFacts, hardware: &HardwareFacts| {
        let refusal = fit(image, hardware).unwrap_err();
        (refusal.code().map(|code| code.to_string()), refusal)
    };
    let code = |text: &str| Some(text.to_owned());
    let dells = &seven(Some("DELL"));
    for (hardware, expected) in [
        (with_slic(Table::Absent), (code("0xC004F057"), OemRefusal::NoSlic { volume_key: false })),
        (with_slic(slic("DELL", None)), (code("0xC004F058"), OemRefusal::NoMarker)),
        (with_slic(slic("DELL", Some(0x2_0000))), (code("0xC004F058"), OemRefusal::OlderMarker { version: 0x2_0000 })),
        (with_slic(Table::Damaged { fault: TableFault::Checksum }), (code("0xC004F059"), OemRefusal::BadSlic)),
        (
            with_slic(slic("LENOVO", Some(0x2_0001))),
            (code("0xC004F063"), OemRefusal::OtherVendor { image: "DELL".to_owned(), firmware: Label::new("LENOVO") }),
        ),
        (with_slic(Table::Unknown), (None, OemRefusal::UnknownFirmware { table: LicenceTable::Slic })),
        (HardwareFacts::default(), (None, OemRefusal::UnknownFirmware { table: LicenceTable::Slic })),
    ] {
        assert_eq!(refused(dells, &hardware), expected);
    }
    assert_eq!(refused(&seven(None), &dell()), (None, OemRefusal::UnknownVendor));
    let volume = WindowsFacts { key_channel: Some(KeyChannel::Gvlk), ..seven(Some("DELL")) };
    assert_eq!(
        refused(&volume, &with_slic(Table::Absent)),
        (code("0xC004F035"), OemRefusal::NoSlic { volume_key: true })
    );
    assert_eq!(refused(&volume, &dell()), (None, OemRefusal::NoOemImage { channel: KeyChannel::Gvlk }));
    assert_eq!(refused(&WindowsFacts::default(), &dell()), (None, OemRefusal::UnknownWindows));
}

#[test]
fn a_table_that_contradicts_itself_does_not_count() {
    let Table::Present(mut of) = slic("DELL", Some(0x2_0001)) else { panic!() };
    of.marker = of.marker.map(|marker| Marker { oem_id: Label::new("OTHER"), ..marker });
    assert_eq!(fit(&seven(Some("DELL")), &with_slic(Table::Present(of))), Err(OemRefusal::BadSlic));
}

#[test]
fn windows_8_and_later_want_the_key_in_the_firmware() {
    let key = with_msdm(Table::Present(Msdm { has_key: true }));
    for build in [9200, 9600, 10_240, 22_631] {
        assert_eq!(fit(&newer(build), &key), Ok(OemFit::FirmwareKey), "{build}");
    }
    let none = with_msdm(Table::Absent);
    let empty = with_msdm(Table::Present(Msdm { has_key: false }));
    assert_eq!(fit(&newer(9600), &none), Err(OemRefusal::NoFirmwareKey));
    assert_eq!(fit(&newer(9600), &empty), Err(OemRefusal::BadFirmwareKey));
    assert_eq!(OemRefusal::BadFirmwareKey.code(), Some(Code(0xC004_F090)));
    // Only Windows can find out whether Microsoft holds a digital licence.
    assert_eq!(fit(&newer(22_631), &none), Ok(OemFit::DigitalLicence));
    assert_eq!(fit(&newer(22_631), &empty), Ok(OemFit::DigitalLicence));
    let unknown = OemRefusal::UnknownFirmware { table: LicenceTable::Msdm };
    assert_eq!(fit(&newer(22_631), &with_msdm(Table::Unknown)), Err(unknown));
}

#[test]
fn a_mak_in_the_image_is_no_oem_image() {
    for build in [7601, 9600, 22_631] {
        let image =
            WindowsFacts { key_channel: Some(KeyChannel::Mak), oem_vendor: Some("DELL".to_owned()), ..newer(build) };
        let hardware = pc(slic("DELL", Some(0x2_0001)), Table::Present(Msdm { has_key: true }));
        assert_eq!(fit(&image, &hardware), Err(OemRefusal::NoOemImage { channel: KeyChannel::Mak }), "{build}");
    }
}

#[test]
fn refusals_say_what_to_do_in_both_languages() {
    let refusal = OemRefusal::OtherVendor { image: "DELL".to_owned(), firmware: Label::new("LENOVO") };
    insta::assert_snapshot!(refusal.text(Language::En), @"the image is of DELL, the PC's firmware of LENOVO; use the vendor's image for this PC (Windows would say 0xC004F063: The vendor's certificate is missing or does not match the firmware)");
    insta::assert_snapshot!(refusal.text(Language::De), @"das Image ist von DELL, die Firmware des PCs von LENOVO; Image des Herstellers für diesen PC verwenden (Windows würde melden: 0xC004F063: Das Zertifikat des Herstellers fehlt oder passt nicht zur Firmware)");
    insta::assert_snapshot!(OemRefusal::OlderMarker { version: 0x2_0000 }.to_string(), @"the firmware's Windows marker is of version 2.0, older than the image's Windows needs; ask the vendor for a BIOS update");
    let json = serde_json::to_string(&refusal).unwrap();
    assert_eq!(serde_json::from_str::<OemRefusal>(&json).unwrap(), refusal);
}

fn tables<T: Clone + std::fmt::Debug + 'static>(
    present: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Table<T>> {
    prop_oneof![
        Just(Table::Unknown),
        Just(Table::Absent),
        Just(Table::Damaged { fault: TableFault::Content }),
        present.prop_map(Table::Present)
    ]
}

prop_compose! {
    fn any_slic()(vendor in "[ABC]", marker in "[ABC]", version in proptest::option::of(0x1_FFFFu32..0x2_0004)) -> Slic {
        let (oem_id, oem_table_id) = (Label::new(&vendor), Label::new("M"));
        let marker = version
            .map(|version| Marker { oem_id: Label::new(&marker), oem_table_id: oem_table_id.clone(), version });
        Slic { oem_id, oem_table_id, marker }
    }
}

proptest! {
    /// Whatever fits has been looked at: Windows 7 only with the vendor's whole table, 8 only with a key.
    #[test]
    fn nothing_fits_by_chance(
        build in proptest::option::of(prop_oneof![Just(7601u32), Just(9600), Just(19045)]),
        vendor in proptest::option::of("[ABCabc]"),
        channel in proptest::option::of(prop_oneof![Just(KeyChannel::Mak), Just(KeyChannel::Gvlk), Just(KeyChannel::Oem),
            Just(KeyChannel::Retail), Just(KeyChannel::None)]),
        slic in tables(any_slic()),
        msdm in tables(any::<bool>().prop_map(|has_key| Msdm { has_key })),
    ) {
        let image = WindowsFacts { build, oem_vendor: vendor.clone(), key_channel: channel, ..WindowsFacts::default() };
        match fit(&image, &pc(slic.clone(), msdm.clone())) {
            Ok(OemFit::Slic { .. }) => {
                let Table::Present(slic) = slic else { panic!("no table") };
                let marker = slic.marker.clone().expect("a marker");
                prop_assert!(build == Some(7601) && marker.version >= 0x2_0001 && marker.oem_id == slic.oem_id);
                prop_assert!(slic.oem_id.is(&vendor.expect("a vendor")));
                prop_assert!(matches!(channel, None | Some(KeyChannel::Oem)));
            }
            Ok(OemFit::FirmwareKey) => {
                prop_assert_eq!(msdm, Table::Present(Msdm { has_key: true }));
                prop_assert!(build >= Some(9200) && channel != Some(KeyChannel::Mak));
            }
            Ok(OemFit::DigitalLicence) => {
                prop_assert!(build >= Some(10_240) && msdm != Table::Unknown && channel != Some(KeyChannel::Mak));
            }
            Err(refusal) => for language in [Language::En, Language::De] {
                prop_assert!(!refusal.text(language).is_empty());
            },
        }
    }
}
