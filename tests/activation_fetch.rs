//! Confirmation IDs from an ActivationWs server that plays fair, and from servers that do not: no installation ID is ever asked
//! about twice, and whatever is not known to have spent nothing goes on counting as spent.

#![expect(clippy::expect_used, reason = "a test stops where its set-up fails")]

#[path = "lab/program.rs"]
mod program;
#[path = "activation_fetch/school.rs"]
mod school;
#[path = "activation_fetch/server.rs"]
mod server;

use std::time::Duration;

use klonwerk::activation::ledger::Refusal;
use klonwerk::net::activation_ws::{ActivationWs, Patience};
use klonwerk::night::fetch::{Fetch, FetchResult, FetchStep, FetchSums, Skipped};
use school::{School, cid};
use server::{Answer, Server};

/// Short enough for a test, long enough for a busy machine.
fn patience() -> Patience {
    Patience { connect: Duration::from_secs(20), answer: Duration::from_millis(1500) }
}

fn fetch(school: &School, url: &str, max: u32) -> (FetchSums, Vec<(String, FetchResult)>) {
    let service = ActivationWs::new(url, false, None, patience()).expect("a server");
    let mut results = Vec::new();
    let sums = school
        .night
        .fetch_confirmations(&Fetch { max, room: None, who: "tester" }, &service, &mut |step| {
            if let FetchStep::Done { machine, result, .. } = step {
                results.push((machine.to_string(), result));
            }
            true
        })
        .expect("fetched");
    (sums, results)
}

fn of<'a>(results: &'a [(String, FetchResult)], machine: &str) -> &'a FetchResult {
    &results.iter().find(|(name, _)| name == machine).unwrap_or_else(|| panic!("{machine}: {results:?}")).1
}

#[test]
fn each_is_asked_once_stored_and_counted() {
    let school = School::new(None);
    let server = Server::start(|n, _| Answer::issued(n, n == 1));
    let (sums, results) = fetch(&school, server.url(), 100);
    assert_eq!(*of(&results, "R1-01"), FetchResult::Stored { from_cache: false });
    assert_eq!(*of(&results, "R1-02"), FetchResult::Stored { from_cache: true });
    assert_eq!((sums.asked, sums.stored, sums.spent, sums.failed, sums.stopped), (3, 3, 3, 0, false));
    // Not asked about: Windows 7, no extended product ID, one ID of two PCs, a PC and a key that no profile names.
    let skipped = results.iter().filter(|(_, result)| matches!(result, FetchResult::Skipped { .. })).count();
    assert_eq!((skipped, sums.skipped), (6, 6), "{results:?}");
    assert_eq!(*of(&results, "R2-02"), FetchResult::Skipped { reason: Skipped::Shared });
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0]["HostName"], "R1-01");
    assert_eq!(asked[0]["InstallationId"], school::iid(1));
    assert!(asked[0]["ExtendedProductId"].as_str().is_some_and(|id| id.contains('-')));
    assert_eq!(school.stored("R1-01", 1), Some(cid(0)));
    let ledger = school.ledger();
    assert_eq!((ledger.spent, ledger.succeeded, ledger.cids_issued, ledger.spent_by_recloning), (3, 3, 3, 0));
    // What is stored waits no more.
    let (again, _) = fetch(&school, server.url(), 100);
    assert_eq!((again.asked, server.asked().len()), (0, 3));
    assert!(school.audited("fetched a confirmation ID from ActivationWs"));
}

#[test]
fn no_more_is_asked_than_was_said_and_the_budget_leaves() {
    let school = School::new(Some((3, 1)));
    let server = Server::start(|n, _| Answer::issued(n, false));
    let (sums, _) = fetch(&school, server.url(), 1);
    assert_eq!((sums.asked, server.asked().len(), sums.stopped), (1, 1, false));
    assert!(sums.left > 0);
    let (sums, results) = fetch(&school, server.url(), 100);
    // Two of a budget of three, one in reserve.
    assert_eq!((sums.asked, server.asked().len()), (1, 2));
    let refused = FetchResult::NotPermitted {
        refusal: Refusal::BudgetSpent { key: school::key(), budget: 3, reserve: 1, spent: 2 },
    };
    assert_eq!(*of(&results, "R1-03"), refused);
}

#[test]
fn what_is_unclear_counts_and_is_never_asked_again() {
    let huge = "9".repeat(1 << 20);
    let cases: Vec<(&str, Answer)> = vec![
        ("wrong digits", Answer::body(200, r#"{"confirmationId":"12345","fromCache":false}"#)),
        ("no answer at all", Answer::Hang),
        ("broken off", Answer::Close),
        ("huge", Answer::body(200, &huge)),
        ("500", Answer::body(500, "<html>987654321</html>")),
        ("a proxy's 502", Answer::body(502, "bad gateway")),
        ("see elsewhere", Answer::elsewhere(303)),
        ("nonsense", Answer::Raw(b"\x16\x03\x01 no HTTP at all\r\n\r\n".to_vec())),
        ("half a header", Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec())),
    ];
    for (case, answer) in cases {
        let school = School::new(None);
        let server = Server::start(move |_, _| answer.clone());
        let (sums, results) = fetch(&school, server.url(), 100);
        assert!(matches!(of(&results, "R1-01"), FetchResult::Unclear { .. }), "{case}: {results:?}");
        assert_eq!((sums.asked, sums.spent, sums.stopped), (1, 1, true), "{case}");
        let ledger = school.ledger();
        assert_eq!((ledger.spent, ledger.unknown, ledger.cids_issued), (1, 1, 1), "{case}");
        let shown = format!("{results:?}");
        assert!(
            !shown.contains("987654321") && !shown.contains(&huge[..50]) && !shown.contains(&school::iid(1)),
            "{case}"
        );
        // The next fetch leaves it alone, and goes on with the others.
        let fair = Server::start(|n, _| Answer::issued(n, false));
        let (_, results) = fetch(&school, fair.url(), 100);
        let open = FetchResult::NotPermitted { refusal: school.open("R1-01") };
        assert_eq!(*of(&results, "R1-01"), open, "{case}");
        assert!(fair.asked().iter().all(|question| question["HostName"] != "R1-01"), "{case}");
        assert_eq!(server.asked().len(), 1, "{case}");
    }
}

#[test]
fn what_never_reached_microsoft_spends_nothing() {
    let elsewhere = Server::start(|n, _| Answer::issued(n, false));
    for (case, answer) in [
        ("404", Answer::body(404, "")),
        ("not allowed", Answer::body(401, "")),
        ("moved", Answer::redirect(308, elsewhere.url())),
        ("its database is away", Answer::problem(503, None)),
    ] {
        let school = School::new(None);
        let server = Server::start(move |_, _| answer.clone());
        let (sums, results) = fetch(&school, server.url(), 100);
        assert!(matches!(of(&results, "R1-01"), FetchResult::NotAsked { .. }), "{case}: {results:?}");
        assert_eq!((sums.spent, sums.stopped, school.ledger().spent), (0, true, 0), "{case}");
        // Once it is mended, it is asked.
        let fair = Server::start(|n, _| Answer::issued(n, false));
        let (sums, _) = fetch(&school, fair.url(), 100);
        assert_eq!(sums.stored, 3, "{case}");
    }
    assert_eq!(elsewhere.asked().len(), 0);
    // Nobody listens there.
    let school = School::new(None);
    let gone = Server::start(|_, _| Answer::Close).into_closed_address();
    let (sums, results) = fetch(&school, &gone, 100);
    assert!(matches!(of(&results, "R1-01"), FetchResult::NotAsked { .. }), "{results:?}");
    assert_eq!((sums.spent, school.ledger().spent), (0, 0));
}

#[test]
fn a_refusal_of_the_key_stops_it_and_one_of_the_id_does_not() {
    let school = School::new(None);
    let server = Server::start(|n, _| match n {
        0 => Answer::problem(400, Some("0x90")),
        1 => Answer::problem(409, Some("0x7F")),
        n => Answer::issued(n, false),
    });
    let (sums, results) = fetch(&school, server.url(), 100);
    assert!(matches!(of(&results, "R1-01"), FetchResult::Refused { .. }));
    assert!(matches!(of(&results, "R1-02"), FetchResult::Refused { .. }));
    assert_eq!(*of(&results, "R1-03"), FetchResult::Skipped { reason: Skipped::KeyStopped });
    assert_eq!((server.asked().len(), sums.spent, school.ledger().spent), (2, 0, 0));
    assert!(school.held());
    let (sums, results) = fetch(&school, server.url(), 100);
    assert_eq!((sums.asked, server.asked().len()), (0, 2));
    let refused = of(&results, "R1-01");
    assert!(matches!(refused, FetchResult::NotPermitted { refusal: Refusal::OnHold { .. } }), "{refused:?}");
    // An error that is not known here ends the fetch.
    let school = School::new(None);
    let server = Server::start(|_, _| Answer::problem(502, Some("0xC0")));
    let (sums, _) = fetch(&school, server.url(), 100);
    assert_eq!((sums.asked, sums.spent, sums.stopped), (1, 0, true));
}

#[test]
fn two_at_once_never_ask_twice() {
    let school = School::new(None);
    let server = Server::start(|n, _| Answer::issued(n, false));
    let sums: Vec<FetchSums> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| fetch(&school, server.url(), 100).0)).collect();
        threads.into_iter().map(|thread| thread.join().expect("joined")).collect()
    });
    let mut asked: Vec<String> = server.asked().iter().map(|question| question["InstallationId"].to_string()).collect();
    asked.sort();
    let count = asked.len();
    asked.dedup();
    assert_eq!((count, asked.len()), (3, 3));
    assert_eq!(sums.iter().map(|sums| sums.stored).sum::<u32>(), 3);
    assert_eq!(school.ledger().spent, 3);
}

#[test]
fn nothing_is_asked_while_the_store_cannot_be_written() {
    let school = School::new(None);
    let server = Server::start(|n, _| Answer::issued(n, false));
    school.break_ledger();
    let (sums, results) = fetch(&school, server.url(), 100);
    let refused = of(&results, "R1-01");
    assert!(matches!(refused, FetchResult::NotPermitted { refusal: Refusal::NoLedger { .. } }), "{refused:?}");
    assert_eq!((sums.asked, sums.stopped, server.asked().len()), (0, true, 0));
}

#[test]
fn a_server_of_another_authority_is_told_nothing() {
    let school = School::new(None);
    let tls = server::Tls::start();
    let service = ActivationWs::new(tls.url(), false, Some(tls.other_authority()), patience()).expect("a server");
    let fetch = Fetch { max: 1, room: None, who: "tester" };
    let sums = school.night.fetch_confirmations(&fetch, &service, &mut |_| true).expect("fetched");
    assert_eq!((sums.asked, sums.spent, tls.requests()), (1, 0, 0));
    let service = ActivationWs::new(tls.url(), false, Some(tls.own_authority()), patience()).expect("a server");
    let sums = school.night.fetch_confirmations(&fetch, &service, &mut |_| true).expect("fetched");
    assert_eq!((sums.stored, tls.requests()), (1, 1));
}

#[test]
fn killed_between_question_and_answer_it_counts_and_stays_asked() {
    let server = Server::start(|n, _| if n == 0 { Answer::Hang } else { Answer::issued(n, false) });
    let mut school = school::Served::new(&format!("activation_ws: {{ url: '{}' }}\n", server.url()));
    let mut asking = school.start(&["activation", "fetch", "--max", "5"]);
    server.wait_for_question();
    school.kill_server();
    let ended = asking.wait().expect("ended");
    assert!(!ended.success());
    school.serve();
    let again = school.run(&["activation", "fetch", "--max", "5", "--json"]);
    let json = again.json();
    assert_eq!(json["results"][0]["result"], "not-permitted", "{json}");
    assert_eq!(json["results"][0]["refusal"]["why"], "request-open", "{json}");
    let asked: Vec<String> = server.asked().iter().map(|question| question["HostName"].to_string()).collect();
    assert_eq!(asked, ["\"R1-01\"", "\"R1-02\"", "\"R1-03\""]);
    let ledger = school.run(&["activation", "ledger", "--json"]).json();
    assert_eq!((&ledger["keys"][0]["spent"], &ledger["keys"][0]["open"]), (&3.into(), &1.into()), "{ledger}");
}

#[test]
fn the_command_tells_what_it_does_in_both_languages() {
    let server = Server::start(|n, _| Answer::issued(n, false));
    let school = school::Served::new(&format!("activation_ws: {{ url: '{}' }}\n", server.url()));
    let first = school.run(&["activation", "fetch", "--max", "1"]);
    let second = school.run(&["activation", "fetch", "--max", "5", "--lang", "de"]);
    let third = school.run(&["activation", "fetch", "--max", "5", "--room", "r2", "--json"]);
    let fourth = school.run(&["activation", "fetch", "--max", "5", "--room", "r9"]);
    let hidden = [school::iid(1), cid(0), cid(1)];
    for said in [&first, &second, &third, &fourth] {
        assert!(hidden.iter().all(|id| !said.out.contains(id.as_str()) && !said.err.contains(id.as_str())));
    }
    insta::assert_snapshot!(format!(
        "{}\n--- de\n{}\n--- json\n{}\n--- no such room\n{}{}",
        first.out, second.out, third.out, fourth.out, fourth.err
    ));
    assert_eq!((first.code, second.code, fourth.code), (Some(0), Some(0), Some(1)));
    assert!(!school.log().contains(&school::iid(1)[..20]) && !school.log().contains(&cid(0)[..20]));
}

#[test]
fn without_a_server_the_command_says_what_to_write() {
    let school = school::Served::new("");
    let none = school.run(&["activation", "fetch", "--max", "1"]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("activation_ws"), "{none:?}");
    let open = school.run(&["activation", "fetch", "--max", "1", "--url", "http://ws.example.school"]);
    assert!(open.err.contains("in the clear"), "{open:?}");
    assert_ne!(school.run(&["activation", "fetch"]).code, Some(0));
    assert_ne!(school.run(&["activation", "fetch", "--max", "0"]).code, Some(0));
}
