//! KMS and Active Directory.

use klonwerk::activation::licensing::{Channel, NO_SUCH_METHOD, VlActivationType};
use klonwerk::sim::licensing::{KMS_VALIDITY, KeyFacts, SimKmsHost, WorldDeed};

use super::*;

const LICENSED: (LicenseStatus, Code) = (LicenseStatus::Licensed, Code::OK);
const NO_OBJECT: Code = Code(0xC004_F081);

fn kms_requests(world: &World) -> usize {
    world.events().iter().filter(|event| matches!(event.what, WorldDeed::KmsRequest { .. })).count()
}

#[test]
fn a_client_renews_every_seven_days_and_lapses_without_a_host() {
    let (clock, world) = world();
    world.add_kms_host("kms", 1688, SimKmsHost::new(1));
    world.set_kms_in_dns(Some(("kms", 1688)));
    let mut pc = clone(&image(&world, 22_631, KeyChannel::Gvlk), "a", &world);
    assert_eq!(standing(&mut pc), (LicenseStatus::Notification, Code::NOT_BY_KMS));
    clock.advance(HOUR * 2);
    assert_eq!(standing(&mut pc), LICENSED, "it asked by itself");
    let product = windows(&mut pc);
    assert_eq!((product.grace_minutes, product.vl_activation_type), (Some(KMS_VALIDITY), Some(VlActivationType::Kms)));
    assert_eq!(product.discovered_kms_host.as_deref(), Some("kms"));
    clock.advance(DAY * 6);
    assert_eq!(windows(&mut pc).grace_minutes, Some(KMS_VALIDITY - 6 * 24 * 60), "not yet");
    clock.advance(DAY);
    assert_eq!(windows(&mut pc).grace_minutes, Some(KMS_VALIDITY));
    assert_eq!(kms_requests(&world), 2);

    world.set_kms_reachable("kms", 1688, false);
    clock.advance(DAY * 8);
    assert_eq!(standing(&mut pc), LICENSED);
    assert_eq!(kms_requests(&world), 3, "in vain");
    clock.advance(HOUR * 2);
    windows(&mut pc);
    assert_eq!(kms_requests(&world), 4, "two hours after a failure again");
    clock.advance(DAY * 171);
    assert_eq!(standing(&mut pc), LICENSED);
    clock.advance(DAY * 2);
    assert_eq!(standing(&mut pc), (LicenseStatus::OotGrace, Code(0x4004_F00D)));
    clock.advance(DAY * 30);
    assert_eq!(standing(&mut pc), (LicenseStatus::Notification, Code::NOT_BY_KMS));
    let asked = kms_requests(&world);
    windows(&mut pc);
    assert_eq!(kms_requests(&world), asked, "not at every look");
    world.set_kms_reachable("kms", 1688, true);
    clock.advance(HOUR * 2);
    assert_eq!(standing(&mut pc), LICENSED);
}

#[test]
fn what_windows_does_by_itself_can_be_switched_off() {
    let (clock, world) = world();
    world.add_kms_host("kms", 1688, SimKmsHost::new(1));
    world.set_kms_in_dns(Some(("kms", 1688)));
    let gvlk = image(&world, 22_631, KeyChannel::Gvlk);
    let mut no_requests = clone(&gvlk, "a", &world);
    no_requests.set_asks_kms_by_itself(false);
    let mut manual = clone(&gvlk.clone().with_manual(true), "b", &world);
    let mut still = clone(&image(&world, 22_631, KeyChannel::Mak), "c", &world);
    still.set_acts_by_itself(false);
    clock.advance(DAY * 30);
    for pc in [&mut no_requests, &mut manual, &mut still] {
        assert_eq!(standing(pc).0, LicenseStatus::Notification);
    }
    assert_eq!((kms_requests(&world), world.microsoft().activations("7HKMQ")), (0, 0));
    assert_eq!(activate(&mut no_requests), Ok(()), "asked, it does");
}

#[test]
fn windows_7_is_in_grace_until_a_host_answers() {
    let (clock, world) = world();
    world.add_kms_host("kms", 1688, SimKmsHost::default());
    let mut pc = clone(&image(&world, 7601, KeyChannel::Gvlk).with_manual(true), "a", &world);
    pc.set_kms("kms", 1688).expect("always");
    assert_eq!(standing(&mut pc), (LicenseStatus::OobGrace, Code::IN_GRACE));
    assert_eq!(activate(&mut pc), Err(Code::COUNT_TOO_LOW));
    pc.set_clock_skew(241);
    assert_eq!(activate(&mut pc), Err(Code::KMS_CLOCK));
    clock.advance(DAY * 31);
    assert_eq!(standing(&mut pc), (LicenseStatus::Notification, Code::GRACE_EXPIRED));
    assert_eq!(code(pc.set_vl_activation_type(None, VlActivationType::Kms)), Err(NO_SUCH_METHOD));
    assert_eq!(code(pc.clear_vl_activation_type(None)), Err(NO_SUCH_METHOD));
}

#[test]
fn office_is_activated_beside_windows_from_five_pcs_on() {
    let (_, world) = world();
    world.add_key_for(&key(OTHER), KeyFacts::office(Channel::KmsClient));
    world.add_kms_host("kms", 1688, SimKmsHost::default().with_office());
    world.set_kms_in_dns(Some(("kms", 1688)));
    let state = image(&world, 22_631, KeyChannel::Gvlk).with_office().with_manual(true);
    let mut answers = Vec::new();
    for board in ["a", "b", "c", "d", "e"] {
        let mut pc = clone(&state, board, &world);
        assert_eq!(products(&mut pc).len(), 1, "Office has no key yet");
        pc.install_product_key(&key(OTHER)).expect("Office is there");
        let office = products(&mut pc).into_iter().find(Product::is_office).expect("Office");
        assert_eq!(windows(&mut pc).channel(), Some(Channel::KmsClient), "Windows keeps its key");
        assert_eq!(office.installation_id.map(|iid| iid.digits().len()), Some(54));
        answers.push((code(pc.activate(&office.id)), activate(&mut pc)));
    }
    assert_eq!(answers[3], (Err(Code::COUNT_TOO_LOW), Err(Code::COUNT_TOO_LOW)));
    assert_eq!(answers[4], (Ok(()), Err(Code::COUNT_TOO_LOW)));
    let host = world.kms_host("kms", 1688).expect("there");
    assert_eq!((host.count(world.now()), host.office_count(world.now())), (5, 5));
    let mut pc = clone(&state, "f", &world);
    world.add_kms_host("kms", 1688, SimKmsHost::default());
    pc.install_product_key(&key(OTHER)).expect("Office is there");
    let office = products(&mut pc).into_iter().find(Product::is_office).expect("Office");
    assert_eq!(code(pc.activate(&office.id)), Err(Code(0xC004_F042)), "a host for Windows only");
}

#[test]
fn active_directory_activates_later_windows_inside_the_domain() {
    let (clock, world) = world();
    world.set_activation_object("example.school", Some("School volume licence"));
    let state = image(&world, 22_631, KeyChannel::Gvlk).with_manual(true);
    let only_directory = |pc: &mut SimLicensing| {
        pc.set_vl_activation_type(None, VlActivationType::ActiveDirectory).expect("Windows 8 and later");
        assert_eq!(windows(pc).vl_activation_type_enabled, Some(VlActivationType::ActiveDirectory));
    };
    let mut outside = clone(&state, "a", &world);
    only_directory(&mut outside);
    assert_eq!(activate(&mut outside), Err(NO_OBJECT));

    let mut pc = clone(&state, "b", &world);
    only_directory(&mut pc);
    pc.join_domain("Example.School");
    assert_eq!(activate(&mut pc), Ok(()));
    let product = windows(&mut pc);
    assert_eq!((product.status, product.grace_minutes), (Some(LicenseStatus::Licensed), Some(KMS_VALIDITY)));
    assert_eq!(product.vl_activation_type, Some(VlActivationType::ActiveDirectory));
    assert_eq!(product.ad_activation_object.as_deref(), Some("School volume licence"));
    pc.leave_domain();
    assert_eq!(standing(&mut pc), (LicenseStatus::Notification, NO_OBJECT));
    pc.join_domain("example.school");
    assert_eq!(standing(&mut pc), LICENSED);
    clock.advance(DAY * 181);
    assert_eq!(standing(&mut pc).0, LicenseStatus::OotGrace);
    world.set_directory_reachable("example.school", false);
    assert_eq!(activate(&mut pc), Err(NO_OBJECT));
    world.set_directory_reachable("example.school", true);
    assert_eq!(activate(&mut pc), Ok(()));

    // Without a restriction KMS is the second choice, and its answer is the one that is told.
    let mut both = clone(&state, "c", &world);
    assert_eq!(activate(&mut both), Err(Code::KMS_NOT_IN_DNS));
    both.join_domain("example.school");
    assert_eq!(activate(&mut both), Ok(()));
    let mut only_kms = clone(&state, "d", &world);
    only_kms.join_domain("example.school");
    let id = windows(&mut only_kms).id;
    only_kms.set_vl_activation_type(Some(&id), VlActivationType::Kms).expect("its own");
    assert_eq!(activate(&mut only_kms), Err(Code::KMS_NOT_IN_DNS));
    only_kms.clear_vl_activation_type(Some(&id)).expect("its own");
    assert_eq!(activate(&mut only_kms), Ok(()));

    let mut seven = clone(&image(&world, 7601, KeyChannel::Gvlk).with_manual(true), "e", &world);
    seven.join_domain("example.school");
    assert_eq!(activate(&mut seven), Err(Code::KMS_NOT_IN_DNS), "Windows 7 knows no such thing");
    let mut mak = clone(&image(&world, 22_631, KeyChannel::Mak).with_manual(true), "f", &world);
    mak.join_domain("example.school");
    mak.set_vl_activation_type(None, VlActivationType::ActiveDirectory).expect("Windows 8 and later");
    assert_eq!(activate(&mut mak), Ok(()), "a MAK is a MAK");
    assert_eq!(world.microsoft().activations("7HKMQ"), 1);
    // A clone is out of the domain, and not activated.
    let generalized = both.generalize().expect("many are left");
    assert_eq!(standing(&mut clone(&generalized, "g", &world)), (LicenseStatus::Notification, Code::NOT_BY_KMS));
}
