//! What holds whatever is done, in whatever order.

use std::collections::BTreeMap;

use klonwerk::activation::licensing::Channel;
use klonwerk::sim::licensing::{LostAnswer, SimKmsHost, WorldDeed, WorldEvent};
use klonwerk::sim::portal::Portal;
use proptest::prelude::*;

use super::*;

const BOARDS: [&str; 3] = ["board 1", "board 2", "board 3"];
const LIMIT: u32 = 6;

#[derive(Debug, Clone, Copy)]
enum Act {
    Clone(usize, bool),
    Install(usize, bool),
    Activate(usize),
    Deposit(usize),
    Rearm(usize),
    Dock(usize, bool),
    Later(u32),
    Internet(bool),
    Lose(bool),
    Manual(usize, bool),
    Skew(usize, i32),
}

fn acts() -> impl proptest::strategy::Strategy<Value = Vec<Act>> {
    let pc = 0..BOARDS.len();
    let act = prop_oneof![
        (pc.clone(), any::<bool>()).prop_map(|(pc, volume)| Act::Clone(pc, volume)),
        (pc.clone(), any::<bool>()).prop_map(|(pc, other)| Act::Install(pc, other)),
        pc.clone().prop_map(Act::Activate),
        pc.clone().prop_map(Act::Deposit),
        pc.clone().prop_map(Act::Rearm),
        (pc.clone(), any::<bool>()).prop_map(|(pc, docked)| Act::Dock(pc, docked)),
        (1u32..400).prop_map(Act::Later),
        any::<bool>().prop_map(Act::Internet),
        any::<bool>().prop_map(Act::Lose),
        (pc.clone(), any::<bool>()).prop_map(|(pc, manual)| Act::Manual(pc, manual)),
        (pc, -2000i32..2000).prop_map(|(pc, minutes)| Act::Skew(pc, minutes)),
    ];
    prop::collection::vec(act, 1..60)
}

/// Activations and confirmation IDs of each key, counted from the log alone.
fn counted(events: &[WorldEvent]) -> BTreeMap<String, (u32, u32)> {
    let mut by_key: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for event in events {
        let Some(partial) = &event.partial_key else { continue };
        match event.what {
            WorldDeed::OnlineActivation { counted: true, .. } => by_key.entry(partial.clone()).or_default().0 += 1,
            WorldDeed::Confirmation { counted: true } => by_key.entry(partial.clone()).or_default().1 += 1,
            _ => {}
        }
    }
    by_key
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn counters_only_grow_and_the_log_explains_them(seven: bool, acts in acts()) {
        let (clock, world) = world();
        world.add_key(&key(MAK), Channel::Mak);
        world.add_key(&key(OTHER), Channel::Mak);
        world.limit_key("7HKMQ", LIMIT);
        world.add_kms_host("kms", 1688, SimKmsHost::new(2));
        world.set_kms_in_dns(Some(("kms", 1688)));
        let build = if seven { 7601 } else { 22_631 };
        let images = [image(&world, build, KeyChannel::Mak), image(&world, build, KeyChannel::Gvlk)];
        let mut pcs = BOARDS.map(|board| clone(&images[0], board, &world));
        let mut log = Vec::new();
        let portal = Portal::of(&world);
        for act in acts {
            let before = world.microsoft();
            let mut quiet = false;
            match act {
                Act::Clone(pc, volume) => pcs[pc] = clone(&images[usize::from(volume)], BOARDS[pc], &world),
                Act::Install(pc, other) => {
                    pcs[pc].install_product_key(&key(if other { OTHER } else { MAK })).expect("known");
                }
                Act::Activate(pc) => {
                    let _ = activate(&mut pcs[pc]);
                }
                Act::Deposit(pc) => {
                    let product = windows(&mut pcs[pc]);
                    let (iid, of) = (product.installation_id.clone().expect("a key"), product.product_ref().expect("a key"));
                    if let Ok(cid) = portal.request(&iid, &of) {
                        let issued = world.microsoft();
                        pcs[pc].set_acts_by_itself(false);
                        let _ = deposit(&mut pcs[pc], &product, &iid, &cid);
                        pcs[pc].set_acts_by_itself(true);
                        prop_assert_eq!(world.microsoft(), issued, "a deposit asks nobody");
                    }
                }
                Act::Rearm(pc) => {
                    let iid = pcs[pc].installation_id();
                    let _ = pcs[pc].rearm_windows();
                    pcs[pc].restart();
                    prop_assert_eq!(pcs[pc].installation_id(), iid, "neither key nor hardware changed");
                }
                Act::Dock(pc, docked) => {
                    let now = Hardware::new(BOARDS[pc]).with_extras(if docked { "dock" } else { "" });
                    let same = *pcs[pc].hardware() == now;
                    let iid = pcs[pc].installation_id();
                    pcs[pc].replace_hardware(now);
                    prop_assert_eq!(pcs[pc].installation_id() == iid, same);
                    quiet = true;
                }
                Act::Later(hours) => clock.advance(HOUR * hours),
                Act::Internet(there) => world.set_internet(there),
                Act::Lose(lost) => world.set_lost_answer(lost.then_some(LostAnswer::WithLicence)),
                Act::Manual(pc, manual) => pcs[pc].set_manual(manual),
                Act::Skew(pc, minutes) => pcs[pc].set_clock_skew(minutes),
            }
            let now = world.microsoft();
            for partial in ["7HKMQ", "9VWXY"] {
                prop_assert!(now.activations(partial) >= before.activations(partial));
                prop_assert!(now.cids_issued(partial) >= before.cids_issued(partial));
            }
            prop_assert!(!quiet || now == before);
            prop_assert!(now.activations("7HKMQ") + now.cids_issued("7HKMQ") <= LIMIT);
            prop_assert_eq!(now.activations("VCFB2") + now.activations("GPDD4"), 0, "KMS clients ask nobody at Microsoft");
            let events = world.events();
            prop_assert!(events.starts_with(&log), "the log only grows");
            let figures = counted(&events);
            for partial in now.counted_keys() {
                let said = (now.activations(partial), now.cids_issued(partial));
                prop_assert_eq!(figures.get(partial).copied().unwrap_or_default(), said);
            }
            log = events;
            prop_assert!(world.kms_host("kms", 1688).expect("there").count(world.now()) <= 4);
        }
    }

    #[test]
    fn an_installation_id_is_hardware_and_key(build in prop_oneof![Just(7601u32), Just(9600), Just(22_631)], board: u16, other: u16) {
        let (clock, world) = world();
        world.add_key(&key(MAK), Channel::Mak);
        world.add_key(&key(OTHER), Channel::Mak);
        let state = image(&world, build, KeyChannel::Mak).with_manual(true);
        let (board, other) = (format!("board {board}"), format!("board {other}"));
        let mut pc = clone(&state, &board, &world);
        let iid = pc.installation_id().expect("a key");
        prop_assert!(iid.check_digits_fit());
        prop_assert_eq!(iid.digits().len(), if build < 9200 { 54 } else { 63 });
        clock.advance(DAY * 400);
        prop_assert_eq!(clone(&state, &board, &world).installation_id(), Some(iid.clone()), "each clone anew");
        prop_assert_eq!(clone(&state, &other, &world).installation_id() == Some(iid.clone()), other == board);
        pc.install_product_key(&key(MAK)).expect("the same");
        prop_assert_eq!(pc.installation_id(), Some(iid.clone()));
        pc.install_product_key(&key(OTHER)).expect("known");
        prop_assert_ne!(pc.installation_id(), Some(iid.clone()));
        pc.install_product_key(&key(MAK)).expect("known");
        prop_assert_eq!(pc.installation_id(), Some(iid));
    }
}
