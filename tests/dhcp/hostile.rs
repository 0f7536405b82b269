//! Packets that are damaged or meant to do damage.

use proptest::prelude::*;

use super::*;

/// What a damaged wire or an attacker does to a packet.
#[derive(Debug, Clone)]
enum Damage {
    Flip {
        at: prop::sample::Index,
        bit: u8,
    },
    Cut {
        at: prop::sample::Index,
    },
    Append(Vec<u8>),
    Set {
        at: prop::sample::Index,
        value: u8,
    },
    /// The length of the n-th option.
    OptionLength {
        option: prop::sample::Index,
        len: u8,
    },
    /// Everything after the header.
    Options(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 0u8..8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        at().prop_map(|at| Damage::Cut { at }),
        prop::collection::vec(any::<u8>(), 0..600).prop_map(Damage::Append),
        (at(), any::<u8>()).prop_map(|(at, value)| Damage::Set { at, value }),
        (at(), any::<u8>()).prop_map(|(option, len)| Damage::OptionLength { option, len }),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(Damage::Options),
    ]
}

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        match damage {
            Damage::Flip { at, bit } => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Damage::Cut { at } => bytes.truncate(at.index(bytes.len())),
            Damage::Append(more) => bytes.extend(more),
            Damage::Set { at, value } => {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            Damage::OptionLength { option, len } => {
                let lengths = option_lengths(&bytes);
                if !lengths.is_empty() {
                    bytes[lengths[option.index(lengths.len())]] = *len;
                }
            }
            Damage::Options(options) => {
                bytes.truncate(240);
                bytes.extend(options);
            }
        }
    }
    bytes
}

/// Where the options' lengths are.
fn option_lengths(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 240;
    while at + 1 < bytes.len() && bytes[at] != 255 {
        if bytes[at] == 0 {
            at += 1;
        } else {
            found.push(at + 1);
            at += 2 + usize::from(bytes[at + 1]);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_damage_panics_or_makes_us_answer_an_ordinary_client(
        pick: prop::sample::Index,
        damages in prop::collection::vec(damage(), 1..5),
        to_proxy_port: bool,
    ) {
        let all = all_client_messages();
        let mut datagram = all[pick.index(all.len())].1.clone();
        datagram.bytes = damaged(&datagram.bytes, &damages);
        datagram.destination.set_port(if to_proxy_port { 4011 } else { 67 });
        let (_, mut proxy) = proxy_for(known(Idle::Local, Some(1)));
        if let Ok(reply) = ask(&mut proxy, &datagram, OURS) {
            let claims_class = |class: &[u8]| datagram.bytes[240..].windows(class.len()).any(|w| w == class);
            prop_assert!(claims_class(b"PXEClient") || claims_class(b"HTTPClient"));
            prop_assert!((300..=1472).contains(&reply.bytes.len()));
            prop_assert_eq!(&reply.bytes[4..8], &datagram.bytes[4..8]);
            if let Destination::Unicast(address) = reply.destination {
                prop_assert!(!address.ip().is_broadcast() && !address.ip().is_multicast());
            }
        }
    }

    #[test]
    fn an_ordinary_client_is_never_answered(
        pick: prop::sample::Index,
        class in prop::option::of("[A-Za-z0-9 .:]{0,40}"),
        more in prop::collection::vec((1u8..255, prop::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        prop_assume!(!class.as_deref().is_some_and(|c| c.starts_with("PXEClient") || c.starts_with("HTTPClient")));
        let all = all_client_messages();
        let mut datagram = all[pick.index(all.len())].1.clone();
        let mut given = options(&datagram.bytes);
        given.remove(&60);
        let class = class.map(String::into_bytes);
        let mut kept: Vec<(u8, &[u8])> = given.iter().map(|(code, data)| (*code, data.as_slice())).collect();
        kept.extend(class.iter().map(|class| (60, class.as_slice())));
        kept.extend(more.iter().filter(|(code, _)| *code != 60).map(|(code, data)| (*code, data.as_slice())));
        datagram.bytes = with_options(&datagram.bytes, &kept);
        let (school, mut proxy) = proxy_for(known(Idle::Local, Some(1)));
        prop_assert!(ask(&mut proxy, &datagram, OURS).is_err());
        prop_assert_eq!(school.seen.lock().unwrap().len(), 0);
    }
}
