//! What each key has spent, asked of a server that has a past.

use std::fs;
use std::sync::Arc;

use klonwerk::activation::codes::Code;
use klonwerk::activation::ledger::{Limits, NewReservation, Purpose, SpendOutcome};
use klonwerk::clock::SystemClock;
use klonwerk::room::KeyName;
use klonwerk::store::{Store, StoreKey};

use crate::school::School;

fn key() -> KeyName {
    "mak-win11".parse().unwrap()
}

/// Two activations, one of them beyond the limit that Microsoft knows, and one that was not permitted.
fn spend(school: &School) {
    let store_key = StoreKey::open_or_create(&school.path("state/klonwerk.key")).unwrap();
    let store = Store::open(&school.path("state/klonwerk.db"), store_key, Arc::new(SystemClock)).unwrap();
    let ask = |machine: &str| NewReservation {
        key: key(),
        partial_key: "3V66T".into(),
        run: None,
        machine: machine.parse().unwrap(),
        purpose: Purpose::Activate,
        limits: Limits { budget: Some(20), reserve: 5, run_limit: None },
    };
    let first = store.reserve(ask("R1-01")).unwrap();
    store.settle(first.id, SpendOutcome::Spent).unwrap();
    let second = store.reserve(ask("R1-02")).unwrap();
    store.settle(second.id, SpendOutcome::NotSpent { code: Code::MAK_LIMIT }).unwrap();
    assert!(store.reserve(ask("R1-03")).is_err());
    store.close();
}

#[test]
fn the_ledger_is_shown_and_a_key_released() {
    let school = School::new();
    let site = fs::read_to_string(school.path("profiles/site.yaml")).unwrap();
    let site = site.replace("in_image: 3V66T }", "in_image: 3V66T, budget: 20, reserve: 5 }\n  own: { type: oem }");
    fs::write(school.path("profiles/site.yaml"), site).unwrap();
    let serving = school.serve();
    let said = school.klonwerk(&["activation", "ledger", "mak-win11"]);
    assert!(said.code == Some(0) && said.out.contains("Nothing was tried with this key yet."), "{said:?}");
    assert!(said.out.contains("not used up at this rhythm"), "{said:?}");
    serving.stop();
    spend(&school);

    let _serving = school.serve();
    let all = school.klonwerk(&["activation", "ledger", "--json"]).json();
    let names: Vec<&str> = all["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
    assert_eq!(names, ["mak-win11", "own"]);
    let mak = &all["keys"][0];
    for (field, value) in
        [("spent", 1), ("succeeded", 1), ("failed", 1), ("refused", 1), ("remaining", 14), ("reserve", 5)]
    {
        assert_eq!(mak[field], value, "{field}: {mak:#}");
    }
    assert_eq!((&mak["kind"], &mak["hold"]["code"]), (&"mak".into(), &"0xC004C020".into()));
    assert_eq!((&all["keys"][1]["kind"], &all["keys"][1]["outlook"]), (&"oem".into(), &serde_json::Value::Null));

    let one = school.klonwerk(&["activation", "ledger", "mak-win11", "--lang", "de"]);
    for part in ["ist gesperrt seit", "0xC004C020", "nicht erlaubt: Schlüssel gesperrt", "R1-03", "gelungen"] {
        assert!(one.out.contains(part), "{part}: {one:?}");
    }
    let released = school.klonwerk(&["activation", "ledger", "--release", "mak-win11"]);
    assert!(released.code == Some(0) && released.out.contains("mak-win11 is released"), "{released:?}");
    let again = school.klonwerk(&["activation", "ledger", "--release", "mak-win11", "--json"]).json();
    assert_eq!(again, serde_json::json!({ "key": "mak-win11", "released": false }));
    let all = school.klonwerk(&["activation", "ledger", "--json"]).json();
    assert_eq!((&all["keys"][0]["hold"], &all["keys"][0]["spent"]), (&serde_json::Value::Null, &1.into()));

    let unknown = school.klonwerk(&["activation", "ledger", "mak-win12"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("know a key mak-win12; the keys are: mak-win11, own"), "{unknown:?}");
    let bad = school.klonwerk(&["activation", "ledger", "MAK/../x"]);
    assert_eq!(bad.code, Some(2), "{bad:?}");
}
