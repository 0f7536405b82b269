use super::*;

const PATIENCE: Duration = Duration::from_secs(3);
const OK: u16 = 0x8180;
const NXDOMAIN: u16 = 0x8183;
const SERVFAIL: u16 = 0x8182;
const TRUNCATED: u16 = 0x8380;

fn server(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 53))
}

fn lookup(servers: u8, rounds: u32) -> Lookup {
    let servers = (1..=servers).map(server).collect();
    Lookup::new("kms.x".parse().unwrap(), RecordKind::A, servers, PATIENCE, rounds)
}

/// The question that was sent.
fn sent(next: Next) -> (SocketAddr, Transport, Vec<u8>) {
    match next {
        Next::Send { to, over, bytes } => (to, over, bytes),
        other => panic!("nothing was sent: {other:?}"),
    }
}

fn done(next: Next) -> Outcome {
    match next {
        Next::Done(outcome) => outcome,
        other => panic!("not over: {other:?}"),
    }
}

/// An answer to a question: its number and question again, other flags, and records as they are in a packet.
fn answer(question: &[u8], flags: u16, records: &[&[u8]]) -> Vec<u8> {
    let mut out = question.to_vec();
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[7] = u8::try_from(records.len()).unwrap();
    out.extend(records.concat());
    out
}

/// The name asked for has this address.
const ADDRESS: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 5];
/// The name asked for is an alias of `a.x`.
const ALIAS: &[u8] = &[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 5, 1, b'a', 1, b'x', 0];
/// It is an alias of `kms.x`, in other words of itself or of what came before.
const BACK: &[u8] = &[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 7, 3, b'k', b'm', b's', 1, b'x', 0];

#[test]
fn the_first_answer_of_the_server_that_was_asked_counts() {
    let now = Instant::now();
    let mut lookup = lookup(2, 2);
    let (to, over, question) = sent(lookup.next(now, 7));
    assert_eq!((to, over), (server(1), Transport::Udp));
    assert_eq!(lookup.next(now, 8), Next::Wait { until: now + PATIENCE });
    let good = answer(&question, OK, &[ADDRESS]);
    // Another source, another port, another transport, another number, and nonsense.
    lookup.heard(server(2), Transport::Udp, &good);
    lookup.heard(SocketAddr::from(([10, 0, 0, 1], 54)), Transport::Udp, &good);
    lookup.heard(server(1), Transport::Tcp, &good);
    let mut forged = good.clone();
    forged[1] ^= 1;
    lookup.heard(server(1), Transport::Udp, &forged);
    lookup.heard(server(1), Transport::Udp, &good[..20]);
    lookup.unreachable(server(2));
    assert_eq!(lookup.next(now, 9), Next::Wait { until: now + PATIENCE });
    lookup.heard(server(1), Transport::Udp, &good);
    let outcome = done(lookup.next(now, 10));
    assert_eq!(outcome.server, Some(server(1)));
    assert_eq!(outcome.verdict, Verdict::Found(vec![Record::Address("10.0.0.5".parse().unwrap())]));
    lookup.heard(server(1), Transport::Udp, &answer(&question, NXDOMAIN, &[]));
    assert_eq!(done(lookup.next(now, 11)), outcome, "it stays so");
}

#[test]
fn silence_and_refusals_lead_to_the_next_server_and_end_some_time() {
    let mut now = Instant::now();
    let mut lookup = lookup(2, 2);
    let (_, _, question) = sent(lookup.next(now, 1));
    lookup.heard(server(1), Transport::Udp, &answer(&question, SERVFAIL, &[]));
    let (to, ..) = sent(lookup.next(now, 2));
    assert_eq!(to, server(2), "at once");
    now += PATIENCE;
    let (to, ..) = sent(lookup.next(now, 3));
    assert_eq!(to, server(1), "after its time");
    lookup.unreachable(server(1));
    let (to, ..) = sent(lookup.next(now, 4));
    assert_eq!(to, server(2));
    now += PATIENCE;
    let outcome = done(lookup.next(now, 5));
    assert_eq!(outcome.verdict, Verdict::Failed(Failure::Refused { code: "SERVFAIL" }), "it tells the most");
    assert_eq!(outcome.server, Some(server(1)));
}

#[test]
fn a_damaged_answer_is_told_apart_from_silence() {
    let now = Instant::now();
    let mut one = lookup(1, 1);
    let (_, _, question) = sent(one.next(now, 1));
    one.heard(server(1), Transport::Udp, &answer(&question, OK, &[&ADDRESS[..9]]));
    assert_eq!(done(one.next(now + PATIENCE, 2)).verdict, Verdict::Failed(Failure::Damaged));
    let mut silent = lookup(1, 1);
    sent(silent.next(now, 1));
    assert_eq!(done(silent.next(now + PATIENCE, 2)).verdict, Verdict::Failed(Failure::TimedOut));
    assert_eq!(done(lookup(0, 2).next(now, 1)).verdict, Verdict::Failed(Failure::NoServer));
}

#[test]
fn what_does_not_fit_is_asked_for_over_tcp() {
    let now = Instant::now();
    let mut lookup = lookup(2, 1);
    let (_, _, question) = sent(lookup.next(now, 1));
    lookup.heard(server(1), Transport::Udp, &answer(&question, TRUNCATED, &[]));
    let (to, over, question) = sent(lookup.next(now, 2));
    assert_eq!((to, over), (server(1), Transport::Tcp));
    lookup.heard(server(1), Transport::Tcp, &answer(&question, OK, &[ADDRESS]));
    let outcome = done(lookup.next(now, 3));
    assert!(matches!(outcome.verdict, Verdict::Found(_)));
    assert_eq!(outcome.over, Transport::Tcp);
}

#[test]
fn truncated_again_over_tcp_is_no_loop() {
    let now = Instant::now();
    let mut lookup = lookup(1, 1);
    let (_, _, question) = sent(lookup.next(now, 1));
    lookup.heard(server(1), Transport::Udp, &answer(&question, TRUNCATED, &[]));
    let (_, _, question) = sent(lookup.next(now, 2));
    lookup.heard(server(1), Transport::Tcp, &answer(&question, TRUNCATED, &[]));
    assert_eq!(done(lookup.next(now, 3)).verdict, Verdict::Failed(Failure::Damaged));
}

#[test]
fn an_alias_is_asked_for_under_its_own_name() {
    let now = Instant::now();
    let mut lookup = lookup(1, 1);
    let (_, _, question) = sent(lookup.next(now, 1));
    lookup.heard(server(1), Transport::Udp, &answer(&question, OK, &[ALIAS]));
    let (_, _, question) = sent(lookup.next(now, 2));
    assert!(question.windows(5).any(|bytes| bytes == b"\x01a\x01x\0"), "{question:?}");
    lookup.heard(server(1), Transport::Udp, &answer(&question, OK, &[ADDRESS]));
    let outcome = done(lookup.next(now, 3));
    assert_eq!(outcome.aliases, ["a.x".parse().unwrap()]);
    assert!(matches!(outcome.verdict, Verdict::Found(_)));
}

#[test]
fn aliases_over_several_answers_do_not_go_round_either() {
    let now = Instant::now();
    let mut lookup = lookup(1, 1);
    let (_, _, question) = sent(lookup.next(now, 1));
    lookup.heard(server(1), Transport::Udp, &answer(&question, OK, &[ALIAS]));
    let (_, _, question) = sent(lookup.next(now, 2));
    lookup.heard(server(1), Transport::Udp, &answer(&question, OK, &[BACK]));
    assert_eq!(done(lookup.next(now, 3)).verdict, Verdict::Failed(Failure::AliasLoop));
}
