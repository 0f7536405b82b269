use proptest::prelude::*;

use super::*;

fn question() -> Question {
    Question { id: 0x1234, name: "_vlmcs._tcp.schule.example".parse().unwrap(), kind: RecordKind::Srv }
}

/// A packet made by hand, so that nothing is tested with its own encoder.
struct Packet(Vec<u8>);

/// Where the name of the question begins: right behind the header.
const TO_QUESTION: [u8; 2] = [0xc0, 12];

fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.bytes());
    }
    out.push(0);
    out
}

impl Packet {
    fn new(flags: u16, counts: [u16; 4]) -> Self {
        let mut out = vec![0x12, 0x34];
        out.extend(flags.to_be_bytes());
        out.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        Self(out)
    }

    fn asked(self, name: &str, kind: u16) -> Self {
        self.bytes(&labels(name)).bytes(&kind.to_be_bytes()).bytes(&[0, 1])
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn record(self, owner: &[u8], kind: u16, data: &[u8]) -> Self {
        let len = u16::try_from(data.len()).unwrap().to_be_bytes();
        self.bytes(owner).bytes(&kind.to_be_bytes()).bytes(&[0, 1, 0, 0, 0, 60]).bytes(&len).bytes(data)
    }
}

const NAME: &str = "_vlmcs._tcp.schule.example";
const OK: u16 = 0x8180;
const SRV: u16 = 33;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const NS: u16 = 2;

fn srv(target: &str) -> Vec<u8> {
    [&[0, 0, 0, 0, 0x06, 0x98][..], &labels(target)].concat()
}

fn soa() -> Vec<u8> {
    [labels("ns.x"), labels("root.x"), vec![0; 20]].concat()
}

#[test]
fn a_question_is_the_packet_of_the_rfc() {
    let expected = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &labels(NAME), &[0, 33, 0, 1]].concat();
    assert_eq!(question().bytes().unwrap(), expected);
}

#[test]
fn an_answer_gives_its_records() {
    let packet = Packet::new(OK, [1, 2, 0, 0]).asked("_VLMCS._tcp.Schule.example", SRV);
    let packet =
        packet.record(&TO_QUESTION, SRV, &srv("KMS.schule.example")).record(&labels("other.example"), SRV, &srv("x.y"));
    let target = "kms.schule.example".parse().unwrap();
    let record = Record::Srv(Srv { priority: 0, weight: 0, port: 1688, target });
    assert_eq!(read(&question(), &packet.0), Ok(Answer::Found { records: vec![record], aliases: vec![] }));
}

#[test]
fn aliases_are_followed_but_not_in_circles() {
    let found = Packet::new(OK, [1, 2, 0, 0]).asked(NAME, SRV).record(&TO_QUESTION, CNAME, &labels("a.x")).record(
        &labels("A.x"),
        SRV,
        &srv("kms.x"),
    );
    match read(&question(), &found.0) {
        Ok(Answer::Found { records, aliases }) => {
            assert_eq!((records.len(), aliases), (1, vec!["a.x".parse().unwrap()]));
        }
        other => panic!("{other:?}"),
    }
    let open = Packet::new(OK, [1, 1, 0, 0]).asked(NAME, SRV).record(&TO_QUESTION, CNAME, &labels("a.x"));
    assert_eq!(read(&question(), &open.0), Ok(Answer::Alias { aliases: vec!["a.x".parse().unwrap()] }));
    let circle = Packet::new(OK, [1, 2, 0, 0]).asked(NAME, SRV).record(&TO_QUESTION, CNAME, &labels("a.x")).record(
        &labels("a.x"),
        CNAME,
        &TO_QUESTION,
    );
    assert_eq!(read(&question(), &circle.0), Ok(Answer::AliasLoop));
    let mut endless = Packet::new(OK, [1, 20, 0, 0]).asked(NAME, SRV).record(&TO_QUESTION, CNAME, &labels("a0.x"));
    for i in 0..19 {
        endless = endless.record(&labels(&format!("a{i}.x")), CNAME, &labels(&format!("a{}.x", i + 1)));
    }
    assert_eq!(read(&question(), &endless.0), Ok(Answer::AliasLoop));
}

#[test]
fn nothing_there_has_several_meanings() {
    let zone = Some("schule.example".parse().unwrap());
    let with_soa =
        |flags| Packet::new(flags, [1, 0, 1, 0]).asked(NAME, SRV).record(&labels("schule.example"), SOA, &soa());
    let none = vec![];
    assert_eq!(
        read(&question(), &with_soa(0x8183).0),
        Ok(Answer::NoSuchName { aliases: none.clone(), zone: zone.clone() })
    );
    assert_eq!(read(&question(), &with_soa(OK).0), Ok(Answer::NoData { aliases: none.clone(), zone }));
    let bare = |flags| read(&question(), &Packet::new(flags, [1, 0, 0, 0]).asked(NAME, SRV).0);
    assert_eq!(bare(OK), Ok(Answer::NoData { aliases: none.clone(), zone: None }));
    assert_eq!(bare(0x8100), Ok(Answer::NoRecursion));
    let referral = Packet::new(0x8100, [1, 0, 1, 0]).asked(NAME, SRV).record(&labels("example"), NS, &labels("ns.x"));
    assert_eq!(read(&question(), &referral.0), Ok(Answer::NoRecursion));
    assert_eq!(bare(0x8500), Ok(Answer::NoData { aliases: none, zone: None }), "it is the authority");
    assert_eq!(bare(0x8182), Ok(Answer::Failed("SERVFAIL")));
    assert_eq!(bare(0x8380), Ok(Answer::Truncated));
    assert_eq!(read(&question(), &Packet::new(0x8185, [0, 0, 0, 0]).0), Ok(Answer::Failed("REFUSED")));
}

#[test]
fn answers_to_something_else_are_none() {
    let good = || Packet::new(OK, [1, 1, 0, 0]).asked(NAME, SRV).record(&TO_QUESTION, SRV, &srv("kms.x"));
    assert!(read(&question(), &good().0).is_ok());
    let other = Question { id: 0x1235, ..question() };
    assert_eq!(read(&other, &good().0), Err(NoAnswer::Other), "another number");
    let other = Question { name: "_vlmcs._tcp.andere.example".parse().unwrap(), ..question() };
    assert_eq!(read(&other, &good().0), Err(NoAnswer::Other), "another name");
    let other = Question { kind: RecordKind::A, ..question() };
    assert_eq!(read(&other, &good().0), Err(NoAnswer::Other), "another kind");
    let query = Packet::new(0x0100, [1, 0, 0, 0]).asked(NAME, SRV);
    assert_eq!(read(&question(), &query.0), Err(NoAnswer::Other), "our own question, sent back");
    assert_eq!(read(&question(), &Packet::new(OK, [0, 0, 0, 0]).0), Err(NoAnswer::Damaged), "no question at all");
    assert_eq!(read(&question(), &Packet::new(OK, [2, 0, 0, 0]).asked(NAME, SRV).0), Err(NoAnswer::Damaged));
}

#[test]
fn pointers_that_lead_nowhere_end_the_reading() {
    let answer = |owner: &[u8]| {
        let packet = Packet::new(OK, [1, 1, 0, 0]).asked(NAME, SRV);
        let here = u16::try_from(packet.0.len()).unwrap() | 0xc000;
        let owner: Vec<u8> = owner.iter().copied().chain(here.to_be_bytes()).collect();
        read(&question(), &packet.record(&owner, SRV, &srv("kms.x")).0)
    };
    assert_eq!(answer(&[]), Err(NoAnswer::Damaged), "a pointer to itself");
    assert_eq!(answer(&[1, b'a']), Err(NoAnswer::Damaged), "a name that holds itself");
    let ahead = Packet::new(OK, [1, 1, 0, 0]).asked(NAME, SRV).record(&[0xff, 0xff], SRV, &srv("kms.x"));
    assert_eq!(read(&question(), &ahead.0), Err(NoAnswer::Damaged), "a pointer past the end");
    let lies = Packet::new(OK, [1, 1, 0, 0]).asked(NAME, SRV).record(&TO_QUESTION, SRV, &[0, 0]);
    assert_eq!(read(&question(), &lies.0), Err(NoAnswer::Damaged), "a record that is too short");
    let many = Packet::new(OK, [1, 0xffff, 0xffff, 0xffff]).asked(NAME, SRV);
    assert_eq!(read(&question(), &many.0), Err(NoAnswer::Damaged), "counts without records");
}

#[test]
fn a_name_of_control_characters_moves_no_cursor() {
    let target = [&[0, 0, 0, 0, 0x06, 0x98, 4, 0x1b, b'[', b'2', b'J'][..], &labels("x")].concat();
    let packet = Packet::new(OK, [1, 1, 0, 0]).asked(NAME, SRV).record(&TO_QUESTION, SRV, &target);
    let Ok(Answer::Found { records, .. }) = read(&question(), &packet.0) else { panic!("an answer") };
    let Some(Record::Srv(srv)) = records.first() else { panic!("a record") };
    assert!(srv.target.as_str().chars().all(|c| !c.is_control()), "{:?}", srv.target);
}

proptest! {
    #[test]
    fn no_packet_is_too_bad(mut bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..90) {
        let _ = read(&question(), &bytes);
        let good = Packet::new(OK, [1, 1, 0, 0]).asked(NAME, SRV).record(&TO_QUESTION, SRV, &srv("kms.x")).0;
        let mut mixed = good[..cut.min(good.len())].to_vec();
        mixed.append(&mut bytes);
        let _ = read(&question(), &mixed);
    }
}
