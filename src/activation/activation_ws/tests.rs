use proptest::prelude::*;

use super::*;

const EPID: &str = "03612-03305-317-008912-02-1033-9200.0000-0662023";

fn machine() -> MachineName {
    "R101-01".parse().expect("a name")
}

fn iid(digits: usize) -> InstallationId {
    InstallationId::parse(&"1".repeat(digits)).expect("digits")
}

fn cid() -> String {
    "123456".repeat(8)
}

#[test]
fn only_what_activation_ws_takes_is_asked() {
    let question = Question::new(&machine(), &iid(63), Some(EPID)).expect("a question");
    let json = serde_json::to_value(&question).expect("JSON");
    let digits = "1".repeat(63);
    let wanted = serde_json::json!({ "InstallationId": digits, "ExtendedProductId": EPID, "HostName": "R101-01" });
    assert_eq!(json, wanted);
    assert!(!format!("{question:?}").contains("1111"));
    let of = |digits, epid| Question::new(&machine(), &iid(digits), epid).expect_err("refused");
    assert_eq!(of(54, Some(EPID)), NotAskable::WindowsSeven);
    assert_eq!(of(63, None), NotAskable::NoProductId);
    assert_eq!(of(63, Some("  ")), NotAskable::NoProductId);
    for bad in ["nothing", "1--2", "-1-2", "1-2 3", "1-\u{e4}", &"1-".repeat(150)] {
        assert_eq!(of(63, Some(bad)), NotAskable::BadProductId, "{bad}");
    }
}

#[test]
fn a_good_answer_is_a_confirmation_id() {
    for (body, cached) in [
        (format!(r#"{{"confirmationId":"{}","fromCache":true}}"#, cid()), true),
        (format!(r#"{{"ConfirmationId":"{}","FromCache":false}}"#, cid()), false),
        (format!(r#"{{"confirmationId":"{}","more":1}}"#, cid()), false),
    ] {
        let Reply::Issued { cid: found, from_cache } = read(200, body.as_bytes()) else { panic!("{body}") };
        assert_eq!((found.expose(), from_cache), (cid().as_str(), cached));
    }
}

#[test]
fn whether_microsoft_was_asked_decides() {
    let problem = |status: u16, code: &str| {
        let body = format!(r#"{{"status":{status},"title":"x","detail":"y"{code}}}"#);
        read(status, body.as_bytes())
    };
    let number = |n| Reply::Refused { number: ServiceNumber(n) };
    assert_eq!(problem(409, r#","errorCode":"0x7F""#), number(0x7F));
    assert_eq!(problem(403, r#","errorCode":"0x67""#), number(0x67));
    assert_eq!(problem(502, r#","errorCode":"0xC0""#), number(0xC0));
    let asked = |reply: Reply| match reply {
        Reply::NotAsked { .. } => false,
        Reply::Unclear { .. } => true,
        other => panic!("{other:?}"),
    };
    for status in [400, 401, 403, 404, 301, 307, 308, 503] {
        assert!(!asked(problem(status, "")), "{status}");
    }
    // A proxy in between, a server that broke off, an answer that says nothing.
    for status in [302, 303, 408, 409, 429, 500, 502, 504] {
        assert!(asked(problem(status, "")), "{status}");
    }
    assert!(asked(read(503, b"<html>")));
    assert!(asked(problem(502, r#","errorCode":"soon""#)));
    for body in [&b""[..], b"{}", b"null", br#"{"confirmationId":"12"}"#, br#"{"confirmationId":7}"#, b"\xff"] {
        assert!(asked(read(200, body)));
    }
}

#[test]
fn numbers_are_codes_of_windows_with_other_words() {
    assert_eq!(ServiceNumber(0x7F).code(), Code(0x803F_A07F));
    assert_eq!(ServiceNumber::parse(" 0x7f "), Some(ServiceNumber(0x7F)));
    for text in ["", "7F", "0x", "0x12345", "0xg", "0x-1", "0x+1"] {
        assert_eq!(ServiceNumber::parse(text), None, "{text}");
    }
    for (number, _, words) in NUMBERS {
        let number = ServiceNumber(number);
        assert!(words.iter().all(|word| word.ends_with('.')));
        assert_ne!(number.text(Language::En), number.text(Language::De));
        // What stops the key here stops it in the ledger as well.
        assert_eq!(
            number.class() == NumberClass::Key,
            crate::activation::ledger::puts_on_hold(number.code()),
            "{number}"
        );
    }
    assert_eq!(ServiceNumber(0x12).class(), NumberClass::Unknown);
    assert!(ServiceNumber(0x12).text(Language::De).starts_with("0x12"));
}

#[test]
fn addresses_are_encrypted_or_local() {
    let good = |url: &str| endpoint(url, false).expect(url);
    assert_eq!(good("https://ws.example.school/"), format!("https://ws.example.school{PATH}"));
    assert_eq!(good("https://10.0.0.9:8443/ws"), format!("https://10.0.0.9:8443/ws{PATH}"));
    for local in ["http://127.0.0.1:5000", "http://localhost", "http://[::1]:80"] {
        good(local);
    }
    let bad = |url: &str| endpoint(url, false).expect_err(url);
    assert_eq!(bad("http://ws.example.school"), AddressError::NotEncrypted);
    // A name that only looks like this machine.
    assert_eq!(bad("http://localhost.example.org"), AddressError::NotEncrypted);
    assert_eq!(bad("http://127.0.0.1.example.org"), AddressError::NotEncrypted);
    assert!(endpoint("http://ws.example.school", true).is_ok());
    assert_eq!(bad("https://user:pass@ws.example.school"), AddressError::Credentials);
    for url in [
        "",
        "ws.example.school",
        "ftp://ws",
        "https://",
        "https:///x",
        "https://a b",
        "https://ws:0",
        "https://ws:x",
        "https://ws:70000",
        "https://[::1",
        "https://[x]",
        "https://ws/?a=b",
        "https://ws/#a",
        "https://ws?x",
        "https://ws/\u{e4}",
    ] {
        assert_eq!(bad(url), AddressError::NotAnAddress, "{url}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_read(status: u16, body: Vec<u8>, text in "\\PC{0,40}") {
        if status != 200 {
            let issued = matches!(read(status, &body), Reply::Issued { .. });
            prop_assert!(!issued);
        }
        let _ = read(200, &body);
        let _ = endpoint(&text, true);
        let _ = ServiceNumber::parse(&text);
        // Nothing of a hostile answer is repeated.
        let body = format!(r#"{{"status":{status},"title":"{0}","detail":"{0}","errorCode":"{0}"}}"#, "987654321");
        let shown = format!("{:?}", read(status, body.as_bytes()));
        prop_assert!(!shown.contains("987654321"));
    }
}
