use super::*;
use crate::activation::outlook::Outlook;
use crate::store::{Hold, LedgerId, LedgerSums};

fn said(language: Language, json: bool, speak: impl FnOnce(&mut Output<'_>) -> anyhow::Result<()>) -> String {
    let mut out = Vec::new();
    speak(&mut Output { out: &mut out, language, json }).unwrap();
    String::from_utf8(out).unwrap()
}

fn key(name: &str, kind: Option<KeyKind>) -> KeyLedger {
    KeyLedger {
        key: name.parse().unwrap(),
        kind,
        partial_key: None,
        problem: None,
        budget: None,
        reserve: 0,
        remaining: None,
        sums: LedgerSums::default(),
        hold: None,
        outlook: None,
        entries: Vec::new(),
    }
}

fn school() -> LedgerView {
    let mak = KeyLedger {
        partial_key: Some("3V66T".into()),
        budget: Some(50),
        reserve: 10,
        remaining: Some(28),
        sums: LedgerSums {
            spent: 12,
            unknown: 1,
            open: 1,
            cids_issued: 30,
            spent_by_recloning: 4,
            ..LedgerSums::default()
        },
        outlook: Some(Outlook::UsedUp { on: jiff::civil::date(2027, 3, 4) }),
        ..key("mak-lab", Some(KeyKind::Mak))
    };
    LedgerView { keys: vec![key("gvlk-win11", Some(KeyKind::Gvlk)), mak, key("old-mak", None)] }
}

fn entry(state: EntryState, code: Option<Code>, refusal: Option<&str>) -> LedgerEntry {
    LedgerEntry {
        id: LedgerId(1),
        at: "2026-11-24T02:00:00Z".parse().unwrap(),
        key: "mak-lab".parse().unwrap(),
        run: None,
        machine: "R101-01".parse().unwrap(),
        kind: EntryKind::Activate,
        state,
        code,
        refusal: refusal.map(str::to_owned),
        settled_at: None,
    }
}

#[test]
fn the_table_shows_what_is_left_and_how_long() {
    insta::assert_snapshot!("ledger", said(Language::En, false, |to| show(&school(), false, to)));
    insta::assert_snapshot!("ledger.de", said(Language::De, false, |to| show(&school(), false, to)));
}

#[test]
fn without_keys_it_says_so() {
    let empty = LedgerView { keys: Vec::new() };
    assert!(said(Language::En, false, |to| show(&empty, false, to)).contains("No profile names a product key"));
    assert!(said(Language::De, false, |to| show(&empty, false, to)).contains("Kein Profil"));
    let json: serde_json::Value =
        serde_json::from_str(&said(Language::En, true, |to| show(&empty, false, to))).unwrap();
    assert_eq!(json, serde_json::json!({ "keys": [] }));
    let one = LedgerView { keys: vec![key("mak-lab", Some(KeyKind::Mak))] };
    assert!(said(Language::En, false, |to| show(&one, true, to)).contains("Nothing was tried"));
}

#[test]
fn a_key_on_hold_says_how_to_go_on() {
    let mut view = school();
    view.keys.truncate(2);
    view.keys[1].hold = Some(Hold {
        key: "mak-lab".parse().unwrap(),
        code: Code::MAK_LIMIT,
        since: "2026-11-24T02:00:00Z".parse().unwrap(),
        run: None,
        machine: "R101-01".parse().unwrap(),
    });
    view.keys[0].problem = Some("the product key gvlk-win11 cannot be read from /x".into());
    for (language, word) in [(Language::En, "is on hold since"), (Language::De, "ist gesperrt seit")] {
        let text = said(language, false, |to| show(&view, false, to));
        for part in [word, "0xC004C020", "--release mak-lab", "cannot be read from /x"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn attempts_are_listed_with_their_outcome() {
    let mut view = LedgerView { keys: vec![school().keys.swap_remove(1)] };
    view.keys[0].entries = vec![
        entry(EntryState::Refused, None, Some("budget-spent")),
        entry(EntryState::Failed, Some(Code::MAK_LIMIT), None),
        entry(EntryState::Succeeded, Some(Code::OK), None),
        entry(EntryState::Unknown, None, None),
    ];
    let text = said(Language::En, false, |to| show(&view, true, to));
    for part in ["not permitted: budget spent", "failed: 0xC004C020", "succeeded\n", "unknown, counts"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(said(Language::De, false, |to| show(&view, true, to)).contains("nicht erlaubt: Budget verbraucht"));
    let json: serde_json::Value = serde_json::from_str(&said(Language::En, true, |to| show(&view, true, to))).unwrap();
    assert_eq!(json["keys"][0]["remaining"], 28);
    assert_eq!(json["keys"][0]["spent_by_recloning"], 4);
    assert_eq!(json["keys"][0]["outlook"], serde_json::json!({ "is": "used-up", "on": "2027-03-04" }));
    assert_eq!(json["keys"][0]["entries"][1]["code"], "0xC004C020");
}

#[test]
fn a_release_says_what_it_did() {
    for (done, word) in [(true, "is released"), (false, "nothing to release")] {
        let view = ReleaseView { key: "mak-lab".parse().unwrap(), released: done };
        assert!(said(Language::En, false, |to| released(&view, to)).contains(word));
        let german = said(Language::De, false, |to| released(&view, to));
        assert!(german.contains("mak-lab") && !german.contains(word));
    }
}
