//! Keys, counters, hardware, vendors, additions.

use klonwerk::activation::licensing::{Channel, LicensingCall};
use klonwerk::sim::licensing::{InstalledKey, KeyFacts, Licence, LostAnswer, SimProduct, WorldDeed};
use klonwerk::sim::portal::Portal;

use super::*;

const LICENSED: (LicenseStatus, Code) = (LicenseStatus::Licensed, Code::OK);

#[test]
fn a_key_fits_its_edition_and_version_only() {
    let (_, world) = world();
    world.add_key_for(&key(MAK), KeyFacts::windows(Channel::Mak).edition("Education").builds(10_240..=u32::MAX));
    world.add_key_for(&key(FIRMWARE), KeyFacts::windows(Channel::Oem).edition("Core"));
    world.add_key_for(&key(OTHER), KeyFacts::office(Channel::Mak));
    let install = |build: u32, text: &str| {
        let mut pc = clone(&image(&world, build, KeyChannel::None), "a", &world);
        let done = code(pc.install_product_key(&key(text)));
        assert_eq!(products(&mut pc).len(), usize::from(done.is_ok()));
        done
    };
    assert_eq!(install(22_631, MAK), Ok(()));
    assert_eq!(install(7601, MAK), Err(Code(0xC004_E016)), "another version's");
    assert_eq!(install(9600, MAK), Err(Code(0xC004_E016)), "another edition's");
    assert_eq!(install(22_631, FIRMWARE), Err(Code(0xC004_F212)), "a vendor's for another edition");
    assert_eq!(install(22_631, "W269N-WFGWX-YVC9B-4J6C9-T83GX"), Err(Code(0xC004_E016)), "the setup key of Pro");
    assert_eq!(install(22_631, "NW6C2-QMPVW-D7KKK-3GKT6-VCFB2"), Ok(()));
    assert_eq!(install(22_631, "BBBBB-BBBBB-BBBBB-BBBBB-BBBBB"), Err(Code::KEY_INVALID), "nobody knows it");
    assert_eq!(install(22_631, OTHER), Err(Code::KEY_INVALID), "there is no Office");
}

#[test]
fn a_mak_ends_at_its_limit_and_again_after_its_extension() {
    let (_, world) = world();
    world.add_key(&key(MAK), Channel::Mak);
    let state = image(&world, 22_631, KeyChannel::Mak).with_manual(true);
    let next = |n: &str| activate(&mut clone(&state, n, &world));
    world.limit_key("7HKMQ", 2);
    assert_eq!([next("a"), next("a"), next("b")], [Ok(()), Ok(()), Err(Code::MAK_LIMIT)], "each clone counts");
    world.extend_key("7HKMQ", 1);
    assert_eq!([next("b"), next("c")], [Ok(()), Err(Code(0xC004_C021))]);
    world.block_key("7HKMQ");
    assert_eq!(next("c"), Err(Code(0xC004_C003)));
    assert_eq!(world.microsoft().activations("7HKMQ"), 3);

    let mut pc = clone(&state, "c", &world);
    let product = windows(&mut pc);
    let (iid, of) = (product.installation_id.clone().expect("a key"), product.product_ref().expect("a key"));
    assert_eq!(Portal::of(&world).request(&iid, &of), Err(Code(0x803F_A067)), "blocked");
    assert_eq!(world.microsoft().cids_issued("7HKMQ"), 0);
}

#[test]
fn confirmation_ids_count_against_the_same_limit_once_for_each_installation() {
    let (_, world) = world();
    world.limit_key("7HKMQ", 1);
    let state = image(&world, 22_631, KeyChannel::Mak).with_manual(true);
    let portal = Portal::of(&world);
    let of = |board: &str| {
        let product = windows(&mut clone(&state, board, &world));
        (product.installation_id.clone().expect("a key"), product.product_ref().expect("a key"))
    };
    let ((first, product), (second, _)) = (of("a"), of("b"));
    let cid = portal.request(&first, &product).expect("the first");
    assert_eq!(portal.request(&first, &product), Ok(cid), "the same again costs nothing");
    assert_eq!(portal.request(&second, &product), Err(Code(0x803F_A07F)));
    let typed = format!("{}{}", &first.digits()[..62], (first.digits().as_bytes()[62] - b'0' + 1) % 7);
    let typed = InstallationId::parse(&typed).expect("63 digits");
    assert_eq!(portal.request(&typed, &product), Err(Code(0x803F_A090)));
    world.set_internet(false);
    assert_eq!(portal.request(&first, &product), Err(Code(0x8007_2EFD)));
    assert_eq!(world.microsoft().cids_issued("7HKMQ"), 1);
    let counted: Vec<(bool, Code)> = world
        .events()
        .iter()
        .filter_map(|event| match event.what {
            WorldDeed::Confirmation { counted } => Some((counted, event.code)),
            _ => None,
        })
        .collect();
    let refused = [Code(0x803F_A07F), Code(0x803F_A090), Code(0x8007_2EFD)].map(|code| (false, code));
    assert_eq!(counted, [&[(true, Code::OK), (false, Code::OK)][..], &refused].concat());
}

#[test]
fn an_answer_that_is_lost_was_counted() {
    const TIMED_OUT: Code = Code(0x8007_2EE2);
    let (_, world) = world();
    let state = image(&world, 22_631, KeyChannel::Mak).with_manual(true);
    world.set_lost_answer(Some(LostAnswer::WithLicence));
    let mut poorer = clone(&state, "a", &world);
    assert_eq!(activate(&mut poorer), Err(TIMED_OUT));
    assert_eq!(standing(&mut poorer), (LicenseStatus::Notification, Code::NO_LICENCE));
    world.set_lost_answer(Some(LostAnswer::AfterLicence));
    let mut luckier = clone(&state, "b", &world);
    assert_eq!(activate(&mut luckier), Err(TIMED_OUT));
    assert_eq!(standing(&mut luckier), LICENSED, "re-reading shows the truth");
    assert_eq!(world.microsoft().activations("7HKMQ"), 2);
    world.set_lost_answer(None);
    world.set_internet(false);
    assert_eq!(activate(&mut poorer), Err(Code(0x8007_2EFD)));
    assert_eq!(world.microsoft().activations("7HKMQ"), 2, "nobody there, nothing counted");
}

#[test]
fn a_wrong_clock_stops_online_activation_before_it_counts() {
    let (_, world) = world();
    let state = image(&world, 22_631, KeyChannel::Mak).with_manual(true);
    for (minutes, expected) in [
        (23 * 60, Ok(())),
        (-25 * 60, Err(Code(0xC004_B011))),
        (400 * 24 * 60, Err(Code(0x8007_2F8F))),
        (i32::MIN, Err(Code(0x8007_2F8F))),
    ] {
        let mut pc = clone(&state, "a", &world);
        pc.set_clock_skew(minutes);
        assert_eq!(activate(&mut pc), expected, "{minutes}");
    }
    assert_eq!(world.microsoft().activations("7HKMQ"), 1);
}

#[test]
fn windows_keeps_trying_by_itself_but_not_at_every_look() {
    let (clock, world) = world();
    world.set_internet(false);
    let mut pc = clone(&image(&world, 22_631, KeyChannel::Mak), "a", &world);
    clock.advance(DAY * 4);
    for _ in 0..5 {
        windows(&mut pc);
    }
    assert_eq!(world.events().len(), 2, "one first boot, one attempt");
    world.set_internet(true);
    clock.advance(HOUR * 2);
    assert_eq!(standing(&mut pc), LICENSED);
    assert_eq!(world.microsoft().activations("7HKMQ"), 1);
    clock.advance(DAY * 90);
    windows(&mut pc);
    assert_eq!(world.microsoft().activations("7HKMQ"), 1, "activated once and for all");
    let mut told = clone(&image(&world, 22_631, KeyChannel::Mak), "a", &world);
    told.set_manual(true);
    clock.advance(DAY * 90);
    told.settle();
    assert_eq!(world.microsoft().activations("7HKMQ"), 1);
}

#[test]
fn an_activated_image_is_good_on_its_own_board_only() {
    let (clock, world) = world();
    for (build, elsewhere, later) in [
        (7601, (LicenseStatus::OotGrace, Code(0xC004_D309)), (LicenseStatus::Notification, Code::GRACE_EXPIRED)),
        (
            26_100,
            (LicenseStatus::Notification, Code::HARDWARE_CHANGED),
            (LicenseStatus::Notification, Code::HARDWARE_CHANGED),
        ),
    ] {
        let state = image(&world, build, KeyChannel::Mak).with_manual(true).activated_on("home");
        assert_eq!(standing(&mut clone(&state, "home", &world)), LICENSED);
        let docked = Hardware::new("home").with_extras("dock");
        assert_eq!(standing(&mut SimLicensing::after_clone(&state, &docked, &world)), LICENSED);
        let mut moved = clone(&state, "away", &world);
        assert_eq!(standing(&mut moved), elsewhere);
        clock.advance(DAY * 31);
        assert_eq!(standing(&mut moved), later);
        moved.replace_hardware(Hardware::new("home"));
        assert_eq!(standing(&mut moved), LICENSED, "back in its own case");
    }
    assert_eq!(world.microsoft().counted_keys().len(), 0);
}

#[test]
fn a_vendors_windows_7_needs_certificate_and_slic_of_one_vendor() {
    let (_, world) = world();
    let state = image(&world, 7601, KeyChannel::Oem);
    let see =
        |state: &LicensingState, hardware: Hardware| standing(&mut SimLicensing::after_clone(state, &hardware, &world));
    let grace = |code: u32| (LicenseStatus::OobGrace, Code(code));
    let vendor = state.clone().with_oem_vendor("CONTOSO");
    let pc = || Hardware::new("a");
    assert_eq!(see(&vendor, pc().with_slic("Contoso", true)), LICENSED);
    assert_eq!(see(&vendor, pc()), grace(0xC004_F057));
    assert_eq!(see(&vendor, pc().with_slic("CONTOSO", false)), grace(0xC004_F058));
    assert_eq!(see(&vendor, pc().with_slic("FABRIKAM", true)), grace(0xC004_F063));
    assert_eq!(see(&state, pc().with_slic("CONTOSO", true)), grace(0xC004_F063), "no certificate");
    let mut pc = SimLicensing::after_clone(&vendor, &pc(), &world);
    assert_eq!(activate(&mut pc), Err(Code::OEM_ONLINE));
    assert_eq!(world.microsoft().counted_keys().len(), 0);

    // A volume key wants a PC that was sold with Windows, if it says anything about itself at all.
    let volume = image(&world, 7601, KeyChannel::Mak).with_manual(true);
    for (hardware, expected) in [
        (Hardware::new("a"), Ok(())),
        (Hardware::new("a").with_slic("CONTOSO", true), Ok(())),
        (Hardware::new("a").with_slic("CONTOSO", false), Err(Code(0xC004_F035))),
    ] {
        assert_eq!(activate(&mut SimLicensing::after_clone(&volume, &hardware, &world)), expected);
    }
}

#[test]
fn a_firmware_key_activates_its_own_pc_and_counts_nothing() {
    let (clock, world) = world();
    let state = image(&world, 26_100, KeyChannel::None).with_manual(true);
    let own = Hardware::new("a").with_msdm(key(FIRMWARE));
    let mut pc = SimLicensing::after_clone(&state, &own, &world);
    let found = pc.firmware_key().expect("readable").expect("a key");
    pc.install_product_key(&found).expect("its own");
    assert_eq!(windows(&mut pc).channel(), Some(Channel::Oem));
    assert_eq!(activate(&mut pc), Ok(()));
    assert_eq!(standing(&mut pc), LICENSED);
    assert!(world.microsoft().has_digital_licence("a", "education"));
    assert_eq!(world.microsoft().counted_keys().len(), 0);
    assert!(pc.calls().contains(&LicensingCall::FirmwareKey));

    // The same image with that key inside, on another PC.
    let mut inside = state.clone();
    inside.key = Some(InstalledKey { partial: "8JPRT".into(), channel: Channel::Oem });
    assert_eq!(activate(&mut clone(&inside, "b", &world)), Err(Code::OEM_ONLINE));
    let mut other = clone(&state, "b", &world);
    assert_eq!(other.firmware_key(), Ok(None));
    assert_eq!(code(other.install_product_key(&found)), Err(Code::KEY_INVALID));

    // Windows would have done it by itself.
    inside.manual = false;
    let mut alone = SimLicensing::after_clone(&inside, &own, &world);
    clock.advance(DAY * 3);
    assert_eq!(standing(&mut alone), LICENSED);

    let mut seven = SimLicensing::after_clone(&image(&world, 7601, KeyChannel::None), &own, &world);
    assert_eq!((seven.firmware_key(), seven.service().expect("readable").firmware_key), (Ok(None), None));
}

#[test]
fn a_digital_licence_is_held_for_hardware_and_edition() {
    let (clock, world) = world();
    world.grant_digital_licence("a", "Education");
    let retail = image(&world, 22_631, KeyChannel::Retail);
    let (mut pc, mut other) = (clone(&retail, "a", &world), clone(&retail, "b", &world));
    assert_eq!(standing(&mut pc).0, LicenseStatus::Notification, "not at once");
    clock.advance(HOUR);
    assert_eq!((standing(&mut pc), standing(&mut other).0), (LICENSED, LicenseStatus::Notification));
    let mut edition = retail.clone();
    edition.edition = "Professional".into();
    let mut edition = clone(&edition, "a", &world);
    let mut old = clone(&image(&world, 9600, KeyChannel::Retail), "a", &world);
    clock.advance(HOUR);
    assert_eq!(standing(&mut edition).0, LicenseStatus::Notification, "of another edition");
    assert_eq!(standing(&mut old).0, LicenseStatus::Notification, "Windows 8.1 knows none");
    assert_eq!(world.microsoft().counted_keys().len(), 0);
    // A retail key that has none counts, and then has one.
    assert_eq!(activate(&mut other), Ok(()));
    assert_eq!(activate(&mut clone(&retail, "b", &world)), Ok(()));
    assert_eq!(world.microsoft().activations("9VWXY"), 1);
}

#[test]
fn an_addition_needs_its_base_and_has_a_counter_of_its_own() {
    let (_, world) = world();
    world.add_key(&key(MAK), Channel::Mak);
    world.add_key_for(&key(OTHER), KeyFacts::addition(SimProduct::Esu1));
    let id = SimProduct::Esu1.documented_id().expect("documented");
    let mut later = clone(&image(&world, 22_631, KeyChannel::Mak), "a", &world);
    assert_eq!(code(later.install_product_key(&key(OTHER))), Err(Code(0xC004_E016)), "for Windows 10 only");

    let mut pc = clone(&image(&world, 19_045, KeyChannel::Mak).with_manual(true), "a", &world);
    assert_eq!(code(pc.activate(id)), Err(Code::NO_SUCH_PRODUCT));
    pc.install_product_key(&key(OTHER)).expect("Windows 10 22H2");
    let both = products(&mut pc);
    assert_eq!(both.iter().filter_map(|p| p.partial_key.as_deref()).collect::<Vec<_>>(), ["7HKMQ", "9VWXY"]);
    let (base, addition) = (&both[0], &both[1]);
    assert!(base.is_windows() && !addition.is_windows());
    assert_eq!(addition.depends_on.as_deref(), Some(base.id.as_str()));
    assert_ne!(addition.installation_id, base.installation_id);
    assert_eq!(code(pc.activate(id)), Err(Code(0xC004_F066)), "its base is not activated");
    let iid = addition.installation_id.clone().expect("a key");
    let cid = Portal::of(&world).issue(&iid, &addition.product_ref().expect("a key")).expect("digits");
    assert_eq!(deposit(&mut pc, addition, &iid, &cid), Err(Code(0xC004_F066)));
    assert_eq!(deposit(&mut pc, base, &iid, &cid), Err(Code::OTHER_KEY));
    activate(&mut pc).expect("a MAK");
    assert_eq!(deposit(&mut pc, addition, &iid, &cid), Ok(()));
    assert!(products(&mut pc).iter().all(Product::is_permanent));
    let microsoft = world.microsoft();
    assert_eq!((microsoft.activations("7HKMQ"), microsoft.activations("9VWXY")), (1, 0));
    assert_eq!((microsoft.cids_issued("7HKMQ"), microsoft.cids_issued("9VWXY")), (0, 1));
    pc.uninstall_product_key(id).expect("there");
    assert_eq!(products(&mut pc).len(), 1);
    assert_eq!(standing(&mut pc), LICENSED, "Windows keeps its own");
}

#[test]
fn generalizing_spends_rearms_until_sysprep_fails() {
    let (clock, world) = world();
    let mut state = image(&world, 7601, KeyChannel::Mak).with_manual(true);
    for left in [2, 1, 0] {
        state = clone(&state, "master", &world).generalize().expect("one is left");
        assert_eq!((state.rearms_left, state.generalized), (left, true));
    }
    assert_eq!(clone(&state, "master", &world).generalize().map(|_| ()), Err(Code::REARM_LIMIT));
    state.skip_rearm = true;
    assert!(clone(&state, "master", &world).generalize().is_ok(), "SkipRearm spends none");
    world.add_kms_host("kms", 1688, klonwerk::sim::licensing::SimKmsHost::new(1));
    world.set_kms_in_dns(Some(("kms", 1688)));
    let mut client = clone(&image(&world, 7601, KeyChannel::Gvlk), "master", &world);
    activate(&mut client).expect("a host is there");
    assert_eq!(client.generalize().map(|state| state.rearms_left), Ok(3), "a KMS client is generalized for nothing");

    let mut pc = clone(&image(&world, 26_100, KeyChannel::Gvlk), "a", &world);
    pc.rearm_windows().expect("1001 are there");
    assert_eq!(pc.service().expect("readable").rearms_left, Some(1000));
    assert_eq!(windows(&mut pc).remaining_sku_rearms, Some(1000));
    assert_eq!(activate(&mut pc), Err(Code(0xC004_D302)), "a restart is due");
    let before = pc.service().expect("readable").client_machine_id;
    pc.restart();
    assert_ne!(pc.service().expect("readable").client_machine_id, before);
    clock.advance(DAY);
    assert!(world.events().iter().any(|event| matches!(event.what, WorldDeed::Rearmed { .. })));
}

#[test]
fn the_log_survives_json_and_holds_no_secret() {
    let (_, world) = world();
    world.add_key(&key(MAK), Channel::Mak);
    let mut pc = clone(&image(&world, 22_631, KeyChannel::None).with_manual(true), "a", &world);
    pc.install_product_key(&key(MAK)).expect("known");
    let product = windows(&mut pc);
    let iid = product.installation_id.clone().expect("a key");
    let cid = Portal::of(&world).issue(&iid, &product.product_ref().expect("a key")).expect("digits");
    deposit(&mut pc, &product, &iid, &cid).expect("a pair");
    let _ = (pc.set_kms("kms", 1688), activate(&mut pc), pc.clear_product_key_from_registry());
    assert_eq!(pc.state().licence, Licence::Permanent { board: "a".into() });

    let events = world.events();
    let names: Vec<String> = events
        .iter()
        .map(|event| {
            let value = serde_json::to_value(event).expect("a value");
            let (what, call) = (value["what"].as_str().expect("a tag"), value.get("call"));
            call.and_then(|call| call.as_str()).map_or(what.to_owned(), |call| format!("{what} {call}"))
        })
        .collect();
    assert_eq!(
        names,
        [
            "first-boot",
            "called install-product-key",
            "confirmation",
            "called deposit-offline-confirmation-id",
            "called set-kms",
            "online-activation",
            "called activate",
            "called clear-product-key-from-registry"
        ]
    );
    let text = serde_json::to_string(&events).expect("a value");
    assert_eq!(serde_json::from_str::<Vec<klonwerk::sim::licensing::WorldEvent>>(&text).expect("the same"), events);
    for secret in [cid.expose(), iid.digits(), "BBBBB-CCCCC"] {
        assert!(!text.contains(secret) && !format!("{world:?}{pc:?}").contains(cid.expose()));
    }
    assert!(events.iter().zip(0..).all(|(event, number)| event.number == number));
    assert_eq!(world.events_from(6), events[6..]);
    assert_eq!(world.events_from(99), []);
}
