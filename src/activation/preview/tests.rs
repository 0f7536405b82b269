use super::*;
use crate::room::Language;

fn image(build: u32, channel: KeyChannel) -> WindowsFacts {
    WindowsFacts {
        build: Some(build),
        edition: Some("Education".into()),
        generalized: Some(true),
        key_channel: Some(channel),
        ..WindowsFacts::default()
    }
}

fn mak() -> Strategy {
    Strategy::MakProxy { key: "mak".parse().expect("a name") }
}

fn with_key(confirmation: ConfirmationState) -> MachineActivation {
    let key = Some(KnownKey { partial_key: "7HKMQ".into(), released: false });
    MachineActivation { key, confirmation, last: None }
}

fn ends(preview: &Preview) -> Expectation {
    preview.expected.clone().expect("an order").ends
}

#[test]
fn a_stored_pair_is_deposited_and_nothing_is_spent() {
    let preview = preview(&mak(), &image(22631, KeyChannel::Mak), &with_key(ConfirmationState::Present));
    insta::assert_snapshot!(preview.lines(Language::En).join("\n"));
    assert_eq!(preview.activations_spent, 0);
    assert!(preview.warnings.is_empty());
}

#[test]
fn without_a_pair_the_pc_is_left_alone() {
    for state in [ConfirmationState::Missing, ConfirmationState::Stale { code: Code::OTHER_HARDWARE }] {
        let preview = preview(&mak(), &image(22631, KeyChannel::Mak), &with_key(state));
        assert_eq!(ends(&preview), Expectation::Outcome(Outcome::PendingIid));
        assert!(preview.calls().iter().all(|call| call.reads()), "{:?}", preview.calls());
    }
}

#[test]
fn a_key_that_may_not_be_sent_must_be_in_the_image() {
    let mut machine = with_key(ConfirmationState::Present);
    let facts = image(22631, KeyChannel::Gvlk);
    let refused = ends(&preview(&mak(), &facts, &machine));
    assert!(matches!(refused, Expectation::Refused(HookError::KeyNotInImage { .. })), "{refused:?}");
    machine.key = Some(KnownKey { partial_key: "7HKMQ".into(), released: true });
    let sent = preview(&mak(), &facts, &machine);
    assert!(sent.calls().contains(&LicensingCall::InstallProductKey));
    assert_eq!(ends(&sent), Expectation::Outcome(Outcome::Activated));
}

#[test]
fn grace_depends_on_the_windows_version() {
    let grace = Strategy::Grace { accept_notification: false };
    let nothing = MachineActivation::default();
    let seven = preview(&grace, &image(7601, KeyChannel::Gvlk), &nothing);
    assert_eq!(seven.grace_minutes, Some(WINDOWS_7_GRACE));
    assert_eq!(ends(&seven), Expectation::Outcome(Outcome::InGrace { minutes: WINDOWS_7_GRACE }));
    let eleven = preview(&grace, &image(26100, KeyChannel::Gvlk), &nothing);
    assert_eq!(eleven.warnings, [Warning::NotificationMode, Warning::NotificationNotAccepted]);
    insta::assert_snapshot!(eleven.lines(Language::De).join("\n"));
    let with_mak = preview(&grace, &image(7601, KeyChannel::Mak), &nothing);
    assert_eq!(with_mak.warnings, [Warning::MakInGraceImage]);
    assert!(matches!(ends(&with_mak), Expectation::Refused(HookError::MakInGraceImage { .. })));
}

#[test]
fn kms_lists_its_ways() {
    let kms = Strategy::Kms { host: Some("kms.example.school".into()), port: 1688 };
    let mut facts = image(22631, KeyChannel::None);
    let keyless = preview(&kms, &facts, &MachineActivation::default());
    insta::assert_snapshot!(keyless.lines(Language::En).join("\n"));
    facts.edition = Some("Core".into());
    facts.skip_rearm = Some(true);
    let home = preview(&kms, &facts, &MachineActivation::default());
    assert_eq!(home.warnings, [Warning::SharedMachineId, Warning::NoSetupKey]);
    assert!(matches!(ends(&home), Expectation::Refused(HookError::WrongChannel { found: None, .. })));
}

#[test]
fn none_calls_nothing_and_a_missing_key_makes_no_order() {
    let none = preview(&Strategy::None, &WindowsFacts::default(), &MachineActivation::default());
    assert_eq!((none.calls(), ends(&none)), (&[][..], Expectation::Outcome(Outcome::Untouched)));
    let no_key = preview(&mak(), &image(22631, KeyChannel::Mak), &MachineActivation::default());
    assert_eq!(no_key.expected, None);
    assert!(no_key.warnings.contains(&Warning::NoKey));
}

#[test]
fn a_preview_survives_its_wire_form() {
    let preview = preview(&mak(), &image(22631, KeyChannel::Mak), &with_key(ConfirmationState::Present));
    let json = serde_json::to_string(&preview).expect("a value");
    assert_eq!(serde_json::from_str::<Preview>(&json).expect("the same"), preview);
}
