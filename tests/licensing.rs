//! The simulated licensing service by the documented rules, one after the other, and under random use.

#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "a test that cannot be set up must fail")]

use std::sync::Arc;
use std::time::Duration;

use klonwerk::activation::codes::Code;
use klonwerk::activation::confirmation::{ConfirmationId, InstallationId};
use klonwerk::activation::key::{ProductKey, gvlk};
use klonwerk::activation::licensing::{LicenseStatus, LicensingError, LicensingService, Product, ProductScope};
use klonwerk::clock::ManualClock;
use klonwerk::image::{KeyChannel, WindowsFacts};
use klonwerk::sim::licensing::{Hardware, LicensingState, SimLicensing, World};

#[path = "licensing/battery.rs"]
mod battery;
#[path = "licensing/properties.rs"]
mod properties;
#[path = "licensing/rules.rs"]
mod rules;
#[path = "licensing/volume.rs"]
mod volume;

/// Made up: no key of anybody's.
const MAK: &str = "BBBBB-CCCCC-DDDDD-FFFFF-7HKMQ";
const FIRMWARE: &str = "BBBBB-CCCCC-DDDDD-FFFFF-8JPRT";
const OTHER: &str = "BBBBB-CCCCC-DDDDD-FFFFF-9VWXY";

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn key(text: &str) -> ProductKey {
    ProductKey::parse(text).expect("a key")
}

fn world() -> (ManualClock, World) {
    let clock = ManualClock::new("2026-11-20T02:00:00Z".parse().expect("a time"));
    let world = World::new(Arc::new(clock.clone()));
    (clock, world)
}

/// A generalized image of this build, Professional before Windows 8 and Education later.
fn image(world: &World, build: u32, channel: KeyChannel) -> LicensingState {
    let edition = if build < 9200 { "Professional" } else { "Education" };
    let edition = if (9200..10_240).contains(&build) { "Enterprise" } else { edition };
    let facts = WindowsFacts {
        build: Some(build),
        edition: Some(edition.to_owned()),
        generalized: Some(true),
        key_channel: Some(channel),
        ..WindowsFacts::default()
    };
    let setup = gvlk(edition, build).expect("a published key");
    let partial = match channel {
        KeyChannel::Gvlk => setup.partial(),
        KeyChannel::Oem => "8JPRT",
        KeyChannel::Retail => "9VWXY",
        KeyChannel::Mak | KeyChannel::None => "7HKMQ",
    };
    LicensingState::of_image(&facts, partial, world.now())
}

fn clone(state: &LicensingState, board: &str, world: &World) -> SimLicensing {
    SimLicensing::after_clone(state, &Hardware::new(board), world)
}

fn products(pc: &mut SimLicensing) -> Vec<Product> {
    pc.products(ProductScope::WithKey).expect("readable")
}

/// Windows itself.
fn windows(pc: &mut SimLicensing) -> Product {
    products(pc).into_iter().find(Product::is_windows).expect("Windows has a key")
}

/// Status and reason of Windows.
fn standing(pc: &mut SimLicensing) -> (LicenseStatus, Code) {
    let product = windows(pc);
    (product.status.expect("a status"), product.reason.expect("a reason"))
}

fn code<T>(answer: Result<T, LicensingError>) -> Result<T, Code> {
    answer.map_err(|error| error.code())
}

fn activate(pc: &mut SimLicensing) -> Result<(), Code> {
    let id = windows(pc).id;
    code(pc.activate(&id))
}

fn deposit(pc: &mut SimLicensing, product: &Product, iid: &InstallationId, cid: &ConfirmationId) -> Result<(), Code> {
    code(pc.deposit_offline_confirmation_id(&product.id, iid, cid))
}

#[test]
fn every_simulated_pc_is_a_licensing_service() {
    let channels = [KeyChannel::Mak, KeyChannel::Gvlk, KeyChannel::Oem, KeyChannel::Retail, KeyChannel::None];
    for build in [7601, 9600, 19_045, 26_100] {
        for channel in channels {
            let (clock, world) = world();
            world.add_key(&key(MAK), klonwerk::activation::licensing::Channel::Mak);
            let hardware = Hardware::new("board").with_slic("CONTOSO", true).with_msdm(key(FIRMWARE));
            let state = image(&world, build, channel).with_office().with_manual(true);
            let name = format!("{build} {channel:?}");
            let make = |state: LicensingState| {
                let (world, hardware) = (world.clone(), hardware.clone());
                move || -> Box<dyn LicensingService> { Box::new(SimLicensing::after_clone(&state, &hardware, &world)) }
            };
            battery::all(&name, build, make(state.clone()));
            battery::all(&format!("{name} activated"), build, make(state.clone().activated_on("board")));
            let elsewhere = state.activated_on("another board").with_oem_vendor("CONTOSO");
            battery::all(&format!("{name} on another board"), build, make(elsewhere.clone()));
            clock.advance(DAY * 40);
            battery::all(&format!("{name} aged"), build, make(elsewhere));
        }
    }
}
