//! Transfers over a wire that loses, doubles and reorders, in virtual time.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::tftp::packet::{ErrorCode, Options, Packet, Request};
use crate::tftp::{Batch, Limits, Outcome, Transfer};

const NOTHING: [u16; 0] = [];

const MILLI: Duration = Duration::from_millis(1);

fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn reader(file: &[u8]) -> impl FnMut(u64, &mut [u8]) -> io::Result<()> + '_ {
    move |offset, buffer| {
        let start = offset as usize;
        let source = file.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(source);
        Ok(())
    }
}

fn ask(block_size: Option<u16>, window_size: Option<u16>) -> Options {
    Options { block_size, window_size, ..Options::default() }
}

fn transfer(now: Instant, options: Options, len: usize) -> Transfer {
    Transfer::new(now, &Request { file: "f", options }, len as u64, &Limits::default())
}

fn ack(block: u16) -> Vec<u8> {
    Packet::Ack { block }.encode()
}

/// The numbers of the blocks in a batch.
fn blocks(out: &Batch) -> Vec<u16> {
    let number = |datagram| match Packet::decode(datagram) {
        Ok(Packet::Data { block, .. }) => block,
        other => panic!("{other:?}"),
    };
    out.datagrams().map(number).collect()
}

/// One transfer and its file, with the clock in hand.
struct Bench {
    now: Instant,
    file: Vec<u8>,
    transfer: Transfer,
    out: Batch,
}

impl Bench {
    fn new(options: Options, len: usize) -> Self {
        let now = Instant::now();
        let mut bench = Self { now, file: content(len), transfer: transfer(now, options, len), out: Batch::default() };
        bench.transfer.begin(now, &mut reader(&bench.file), &mut bench.out);
        bench
    }

    fn take(&mut self, datagram: &[u8]) -> Vec<u16> {
        self.transfer.handle(self.now, datagram, &mut reader(&self.file), &mut self.out);
        blocks(&self.out)
    }

    fn ack(&mut self, block: u16) -> Vec<u16> {
        self.take(&ack(block))
    }

    fn wait(&mut self, time: Duration) -> Vec<u16> {
        self.now += time;
        self.transfer.on_timeout(self.now, &mut reader(&self.file), &mut self.out);
        blocks(&self.out)
    }
}

#[test]
fn options_are_granted_up_to_the_limits_and_only_if_asked() {
    let asked = Options { block_size: Some(65464), timeout: Some(3), transfer_size: Some(0), window_size: Some(65535) };
    let granted =
        Options { block_size: Some(1468), timeout: Some(3), transfer_size: Some(5000), window_size: Some(64) };
    let bench = Bench::new(asked, 5000);
    assert_eq!(Packet::decode(bench.out.bytes()), Ok(Packet::OptionAck(granted)));
    let bench = Bench::new(ask(Some(8), None), 5000);
    assert_eq!(Packet::decode(bench.out.bytes()), Ok(Packet::OptionAck(ask(Some(8), None))));
    let bench = Bench::new(Options::default(), 5000);
    assert_eq!(blocks(&bench.out), [1], "without options the first block is the answer");
    assert_eq!(bench.out.bytes().len(), 516);
}

#[test]
fn a_window_is_one_batch_and_ends_short() {
    let mut bench = Bench::new(ask(Some(1000), Some(4)), 5500);
    assert_eq!(bench.ack(0), [1, 2, 3, 4]);
    assert_eq!((bench.out.segment(), bench.out.bytes().len()), (1004, 4016));
    assert_eq!(bench.ack(4), [5, 6]);
    assert_eq!((bench.out.segment(), bench.out.bytes().len()), (1004, 1004 + 504));
    assert_eq!(bench.ack(6), NOTHING);
    assert_eq!(bench.transfer.outcome(), Some(&Outcome::Completed));
    let totals = bench.transfer.totals();
    assert_eq!((totals.bytes, totals.blocks, totals.retransmits), (5500, 6, 0));
    assert_eq!(bench.transfer.poll_timeout(), None);
}

#[test]
fn empty_files_and_full_last_blocks_end_with_an_empty_block() {
    for (len, last) in [(0, 1), (512, 2), (1024, 3)] {
        let mut bench = Bench::new(Options::default(), len);
        for block in 1..last {
            assert_eq!(bench.ack(block), [block + 1]);
        }
        assert_eq!(bench.out.bytes().len(), 4);
        bench.ack(last);
        assert_eq!(bench.transfer.outcome(), Some(&Outcome::Completed), "{len}");
        assert_eq!(bench.transfer.totals().bytes, len as u64);
    }
}

#[test]
fn a_lost_first_block_is_sent_again_at_once_but_only_once() {
    let mut bench = Bench::new(ask(Some(512), Some(4)), 10_000);
    bench.ack(0);
    bench.ack(4);
    assert_eq!(bench.ack(4), [5, 6, 7, 8], "the client saw block 6 first");
    assert_eq!(bench.ack(4), NOTHING, "and says so for 7 and 8 too");
    assert_eq!(bench.ack(8), [9, 10, 11, 12]);
    assert_eq!(bench.ack(8), NOTHING, "an echo of the window that was sent twice");
    assert_eq!(bench.ack(8), [9, 10, 11, 12], "a new loss");
}

#[test]
fn a_gap_in_the_window_is_filled_at_once() {
    let mut bench = Bench::new(ask(Some(512), Some(4)), 10_000);
    bench.ack(0);
    assert_eq!(bench.ack(2), [3, 4, 5, 6]);
    assert_eq!(bench.transfer.totals().retransmits, 2);
    assert_eq!(bench.ack(1), NOTHING, "behind the window");
    assert_eq!(bench.ack(7), NOTHING, "never sent");
    assert_eq!(bench.ack(6), [7, 8, 9, 10]);
}

#[test]
fn a_doubled_acknowledgement_doubles_nothing() {
    let mut bench = Bench::new(ask(Some(512), None), 10_000);
    bench.now += MILLI;
    assert_eq!(bench.ack(0), [1]);
    for block in 1..10 {
        bench.now += MILLI;
        assert_eq!(bench.ack(block), [block + 1]);
        assert_eq!(bench.ack(block), NOTHING, "a copy on the wire");
    }
    assert_eq!(bench.transfer.totals().retransmits, 0);
    bench.now += Duration::from_millis(900);
    assert_eq!(bench.ack(9), [10], "the client's own timer has run out");
}

#[test]
fn waits_are_measured_double_in_silence_and_end() {
    let mut bench = Bench::new(ask(Some(512), None), 10_000);
    bench.now += MILLI;
    bench.ack(0);
    assert_eq!(bench.wait(MILLI * 24), NOTHING);
    assert_eq!(bench.wait(MILLI), [1], "no second is lost on a lost block");
    let mut sends = 1;
    while let Some(deadline) = bench.transfer.poll_timeout() {
        sends += usize::from(!bench.wait(deadline - bench.now).is_empty());
        assert!(sends < 20);
    }
    assert_eq!(bench.transfer.outcome(), Some(&Outcome::TimedOut));
    assert_eq!(bench.transfer.totals().duration, Duration::from_millis(20_001));
    assert_eq!(bench.ack(1), NOTHING, "what has ended stays silent");
}

#[test]
fn a_client_that_never_answers_gets_three_packets() {
    let mut bench = Bench::new(ask(Some(512), None), 10_000);
    let start = bench.now;
    let mut sends = 1;
    while let Some(deadline) = bench.transfer.poll_timeout() {
        bench.now = deadline;
        bench.transfer.on_timeout(deadline, &mut reader(&bench.file), &mut bench.out);
        sends += usize::from(!bench.out.is_empty());
    }
    assert_eq!(sends, 3);
    assert_eq!(bench.now - start, Limits::default().first_patience);
}

#[test]
fn the_firmware_probe_is_no_failure_and_other_aborts_are() {
    let size = Options { transfer_size: Some(0), ..ask(Some(1468), Some(4)) };
    let abort = |options: Options, after: &[u16], code| {
        let mut bench = Bench::new(options, 10_000);
        for block in after {
            bench.ack(*block);
        }
        bench.take(&Packet::Error { code, message: "User aborted the transfer".to_owned() }.encode());
        assert!(bench.out.is_empty() && bench.transfer.poll_timeout().is_none());
        bench.transfer.outcome().unwrap().is_failure()
    };
    assert!(!abort(size, &[], ErrorCode::OptionRefused));
    assert!(!abort(size, &[], ErrorCode::Undefined));
    assert!(!abort(ask(Some(1468), None), &[], ErrorCode::OptionRefused));
    assert!(abort(ask(Some(1468), None), &[], ErrorCode::Undefined));
    assert!(abort(size, &[0], ErrorCode::DiskFull));
}

#[test]
fn a_file_that_cannot_be_read_ends_the_transfer_with_an_error() {
    let mut bench = Bench::new(ask(Some(512), Some(2)), 2000);
    bench.file.truncate(700);
    bench.transfer.handle(bench.now, &ack(0), &mut reader(&bench.file), &mut bench.out);
    assert!(matches!(Packet::decode(bench.out.bytes()), Ok(Packet::Error { code: ErrorCode::Undefined, .. })));
    assert!(matches!(bench.transfer.outcome(), Some(Outcome::ReadFailed { .. })));
}

#[test]
fn stopping_tells_the_client() {
    let mut bench = Bench::new(ask(Some(512), Some(2)), 2000);
    bench.transfer.cancel(bench.now, &mut bench.out);
    assert!(matches!(Packet::decode(bench.out.bytes()), Ok(Packet::Error { .. })));
    assert_eq!(bench.transfer.outcome(), Some(&Outcome::Cancelled));
}

#[test]
fn silence_behind_the_last_block_is_told_from_silence_before() {
    for (acks, after_last_block) in [(1, false), (2, true)] {
        let mut bench = Bench::new(ask(Some(512), None), 1000);
        for block in 0..acks {
            bench.ack(block);
        }
        bench.transfer.unreachable(bench.now);
        assert_eq!(bench.transfer.outcome(), Some(&Outcome::Unreachable { after_last_block }));
    }
}

#[test]
fn what_will_be_read_is_said_before() {
    let seen = RefCell::new((0, 0));
    let mut note = |offset: u64, buffer: &mut [u8]| {
        let mut seen = seen.borrow_mut();
        *seen = (seen.0.min(offset), seen.1.max(offset + buffer.len() as u64));
        Ok(())
    };
    let mut bench = Bench::new(ask(Some(100), Some(4)), 1950);
    assert_eq!(bench.transfer.reads(Some(b"\0\x05\0\x08bye\0")), 0..0);
    for block in [0, 4, 4, 6, 3, 10, 14, 18, 20] {
        let datagram = ack(block);
        let said = bench.transfer.reads(Some(&datagram));
        *seen.borrow_mut() = (u64::MAX, 0);
        bench.transfer.handle(bench.now, &datagram, &mut note, &mut bench.out);
        let (from, to) = *seen.borrow();
        assert!(from >= to || (said.start <= from && to <= said.end), "{block}: {said:?} {from}..{to}");
    }
    assert_eq!(bench.transfer.outcome(), Some(&Outcome::Completed));
}

/// How the simulated wire treats packets, in thousandths.
#[derive(Debug, Clone, Copy)]
struct Wire {
    loss: u32,
    doubling: u32,
    jitter_micros: u32,
    seed: u64,
}

/// A client by the book (RFC 7440 section 4), with a timer of one second.
struct Client {
    received: Vec<u8>,
    expected: u64,
    in_window: u64,
    window: u64,
    block_size: usize,
    complete: bool,
    told_gap: bool,
    /// Whether it answers each packet behind a gap, as some do, or the first only.
    chatty: bool,
}

impl Client {
    fn take(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        match Packet::decode(datagram) {
            Ok(Packet::OptionAck(_)) if self.expected == 1 => Some(ack(0)),
            Ok(Packet::Data { block, payload }) => {
                if self.complete || block != self.expected as u16 {
                    let ahead = block.wrapping_sub(self.expected as u16) < 0x8000;
                    let window_again = !ahead && self.in_window == 0 && block == (self.expected - 1) as u16;
                    let gap = ahead && !self.told_gap;
                    self.told_gap |= ahead;
                    if gap {
                        self.in_window = 0;
                    }
                    return (window_again || gap || self.chatty).then(|| ack((self.expected - 1) as u16));
                }
                self.told_gap = false;
                self.received.extend_from_slice(payload);
                self.expected += 1;
                self.in_window += 1;
                self.complete = payload.len() < self.block_size;
                (self.complete || self.in_window == self.window).then(|| {
                    self.in_window = 0;
                    ack((self.expected - 1) as u16)
                })
            }
            Ok(Packet::Error { .. }) | Ok(_) | Err(_) => None,
        }
    }
}

struct Played {
    outcome: Outcome,
    client: Client,
    sent: u64,
    took: Duration,
}

/// Plays a transfer to its end. Time is virtual; the number of events is bounded.
fn play(file: &[u8], block_size: u16, window: u16, chatty: bool, wire: Wire) -> Played {
    let mut random = wire.seed | 1;
    let mut chance = move |thousandths: u32| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) as u32 % 1000 < thousandths
    };
    let mut jitter_state = wire.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let start = Instant::now();
    let mut now = start;
    let mut server = transfer(now, ask(Some(block_size), Some(window)), file.len());
    let mut client = Client {
        received: Vec::new(),
        expected: 1,
        in_window: 0,
        window: window.into(),
        block_size: block_size.into(),
        complete: false,
        told_gap: false,
        chatty,
    };
    let mut client_timer = now + Duration::from_secs(1);
    let mut queue: BinaryHeap<Reverse<(Instant, u64, bool, Vec<u8>)>> = BinaryHeap::new();
    let (mut order, mut sent) = (0u64, 0u64);
    let mut out = Batch::default();
    server.begin(now, &mut reader(file), &mut out);
    let mut post = |queue: &mut BinaryHeap<_>, now: Instant, to_server: bool, datagram: &[u8]| {
        let copies = u32::from(!chance(wire.loss)) + u32::from(chance(wire.doubling));
        for _ in 0..copies {
            jitter_state = jitter_state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let jitter = (jitter_state >> 33) as u32 % (wire.jitter_micros + 1);
            let at = now + Duration::from_micros(200 + u64::from(jitter));
            order += 1;
            queue.push(Reverse((at, order, to_server, datagram.to_vec())));
        }
    };
    for _ in 0..2_000_000u32 {
        for datagram in out.datagrams() {
            sent += 1;
            post(&mut queue, now, false, datagram);
        }
        out.clear();
        let Some(deadline) = server.poll_timeout() else {
            return Played { outcome: server.outcome().unwrap().clone(), client, sent, took: now - start };
        };
        let arrival = queue.peek().map(|Reverse((at, ..))| *at);
        let next = [Some(deadline), Some(client_timer), arrival].into_iter().flatten().min().unwrap();
        now = now.max(next);
        if arrival == Some(next) {
            let Some(Reverse((_, _, to_server, datagram))) = queue.pop() else { continue };
            if to_server {
                server.handle(now, &datagram, &mut reader(file), &mut out);
            } else {
                client_timer = now + Duration::from_secs(1);
                if let Some(answer) = client.take(&datagram) {
                    post(&mut queue, now, true, &answer);
                }
            }
        } else if next == deadline {
            server.on_timeout(now, &mut reader(file), &mut out);
        } else {
            client_timer = now + Duration::from_secs(1);
            if client.expected > 1 {
                post(&mut queue, now, true, &ack((client.expected - 1) as u16));
            }
        }
    }
    panic!("no end: {wire:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_the_wire_does_the_file_is_exact_or_the_outcome_says_so(
        len in 0usize..20_000, block_size in 8u16..1468, window in 1u16..=64, chatty: bool,
        loss in 0u32..400, doubling in 0u32..300, jitter_micros in 0u32..2000, seed: u64,
    ) {
        let file = content(len);
        let played = play(&file, block_size, window, chatty, Wire { loss, doubling, jitter_micros, seed });
        prop_assert!(file.starts_with(&played.client.received));
        match played.outcome {
            Outcome::Completed => prop_assert!(played.client.complete && played.client.received == file),
            outcome => prop_assert_eq!(outcome, Outcome::TimedOut),
        }
    }

    #[test]
    fn a_wire_that_loses_one_in_fifty_loses_no_file(
        len in 0usize..60_000, window in 1u16..=64, doubling in 0u32..50, jitter_micros in 0u32..300, seed: u64,
    ) {
        let file = content(len);
        let played = play(&file, 512, window, false, Wire { loss: 20, doubling, jitter_micros, seed });
        prop_assert_eq!(played.outcome, Outcome::Completed);
        prop_assert!(played.client.received == file);
    }

    #[test]
    fn no_datagram_upsets_a_transfer(
        datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..50), window in 1u16..=64,
    ) {
        let mut bench = Bench::new(ask(Some(64), Some(window)), 5000);
        for datagram in datagrams {
            bench.take(&[&[0, 4], datagram.as_slice()].concat());
            prop_assert!(bench.out.datagrams().count() <= 64);
        }
    }
}

const CLEAN: Wire = Wire { loss: 0, doubling: 0, jitter_micros: 0, seed: 7 };

#[test]
fn block_numbers_begin_again_after_65535() {
    let file = content(8 * 140_000 + 3);
    for window in [1, 16, 64] {
        let played = play(&file, 8, window, false, CLEAN);
        assert_eq!(played.outcome, Outcome::Completed);
        assert!(played.client.received == file);
        assert_eq!(played.sent, 1 + 140_001, "each block once, and the options");
    }
}

#[test]
fn doubled_packets_do_not_make_more_and_more() {
    let file = content(512 * 1000);
    for (window, most) in [(1, 1100), (4, 2100), (64, 2100)] {
        let played = play(&file, 512, window, false, Wire { doubling: 1000, ..CLEAN });
        assert_eq!(played.outcome, Outcome::Completed);
        assert!(played.sent <= most, "window {window}: {} packets", played.sent);
    }
}

#[test]
fn loss_costs_round_trips_not_seconds() {
    let file = content(1468 * 5000);
    for window in [1, 4, 16] {
        let played = play(&file, 1468, window, false, Wire { loss: 10, ..CLEAN });
        assert_eq!(played.outcome, Outcome::Completed);
        // 5000 round trips of 0.4 ms and, for each loss, one wait of 25 ms; a server with a timer of a second takes 100 s.
        assert!(played.took < Duration::from_secs(6), "window {window}: {:?}", played.took);
    }
}
