//! The licensing service of a simulated PC, and the world around it: Microsoft's counters, KMS hosts, Active Directory.
//!
//! It follows what Microsoft documents (the pages of Windows Server and Windows client documentation on `slmgr.vbs`, volume
//! activation, activation error codes, KMS planning and extended security updates; the WMI classes' reference; TechNet
//! ff793418 on KMS timing, ff793426 on licence states, ff793431 on the registry):
//!
//! - Windows 7 has 30 days of grace and three rearms, then C004D307; later versions show the notification at once and have
//!   1001 rearms. A rearm takes effect with a restart (C004D302 until then), and not at all under SkipRearm.
//! - A KMS host counts the client machine IDs of 30 days, at most twice its threshold: 25 for Windows, 5 for Office. An
//!   activation holds 180 days; a client asks every two hours without, every seven days with one.
//! - A first boot after generalizing makes a new client machine ID, unless SkipRearm was set.
//! - Active Directory activates volume clients of Windows 8 and later inside the domain, before KMS is tried.
//! - An installation ID depends on hardware and key, its groups end in check digits, and a confirmation ID belongs to it
//!   alone. Depositing one asks nobody; issuing one counts once for each installation ID.
//! - A vendor's Windows 7 is activated by certificate and SLIC table together (C004F057, F058, F063); a volume key on a PC
//!   whose table lacks the Windows marker answers C004F035. A firmware key and a digital licence belong to the hardware.
//! - An addition such as extended security updates has a MAK of its own and needs its base activated.
//!
//! What Microsoft does not document is chosen and said here, on the careful side where an activation is at stake:
//!
//! - changed `extras` of the hardware change the installation ID but are tolerated, a changed `board` is not; then Windows 7
//!   is out of tolerance for 30 days (C004D309), later versions show the notification (C004F00F);
//! - every online activation of a MAK counts, on the same hardware too; a vendor's firmware key has no counter;
//! - Windows activates by itself three days after its first boot or the key's installation, a digital licence after an
//!   hour, and tries again every two hours; `manual` stops that and a KMS client's own requests as well, the first of
//!   which comes after two hours;
//! - clocks may differ four hours at a KMS host, a day at Microsoft (C004B011), a year for its certificate (80072F8F);
//!   a wrong clock does not move grace periods, which run in the trusted store;
//! - a known key of another edition or version answers C004E016 (a vendor's C004F212), an unknown one C004F050, an addition
//!   without its base C004F066; leaving the domain, or a directory out of reach, shows C004F081;
//! - generalizing keeps Office's licence, and costs a KMS-activated Windows no rearm;
//! - a confirmation ID that was issued before is given again without counting.
//!
//! Nothing here was measured on real Windows.

use jiff::{SignedDuration, Timestamp};

use crate::activation::codes::Code;
use crate::activation::confirmation::InstallationId;
use crate::activation::licensing::{Channel, LicenseStatus, LicensingCall};

mod acts;
pub(in crate::sim) mod digits;
mod event;
mod hardware;
mod keys;
mod kms_host;
mod microsoft;
mod service;
mod standing;
mod state;
mod world;

pub use event::{WorldDeed, WorldEvent};
pub use hardware::{Hardware, Slic};
pub use keys::{KeyFacts, SimProduct};
pub use kms_host::SimKmsHost;
pub use microsoft::Microsoft;
pub use state::{Installed, InstalledKey, Licence, LicensingState};
pub use world::{LostAnswer, World};

const MINUTE: i64 = 60;

/// The first builds of Windows 8, 8.1 and 10.
const WINDOWS_8: u32 = 9200;
const WINDOWS_8_1: u32 = 9600;
const WINDOWS_10: u32 = 10_240;

/// How long a KMS activation holds, in minutes: 180 days.
pub const KMS_VALIDITY: u32 = 180 * 24 * 60;

/// After how many minutes an unactivated KMS client asks again: two hours.
pub const KMS_RETRY: u32 = 120;

/// After how many minutes an activated KMS client renews: seven days.
pub const KMS_RENEWAL: u32 = 7 * 24 * 60;

/// After how many minutes Windows activates by itself: three days.
const AUTOMATIC_ACTIVATION: u32 = 3 * 24 * 60;

/// After how many minutes it finds its digital licence.
const DIGITAL_DELAY: u32 = 60;

fn add(time: Timestamp, minutes: u32) -> Timestamp {
    time.checked_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(Timestamp::MAX)
}

/// The licensing service of one simulated PC. It records every call.
#[derive(Debug, Clone)]
pub struct SimLicensing {
    state: LicensingState,
    hardware: Hardware,
    world: World,
    /// How far the PC's clock is ahead of the world's, in minutes.
    clock_skew: i32,
    acts_by_itself: bool,
    asks_kms_by_itself: bool,
    restart_due: bool,
    calls: Vec<LicensingCall>,
}

impl SimLicensing {
    /// A PC that was just cloned from an image with this state, and has booted once. Whatever the PC had before is gone:
    /// that is what makes re-cloning cost activations.
    pub fn after_clone(image: &LicensingState, hardware: &Hardware, world: &World) -> Self {
        let mut pc = Self {
            state: image.clone(),
            hardware: hardware.clone(),
            world: world.clone(),
            clock_skew: 0,
            acts_by_itself: true,
            asks_kms_by_itself: true,
            restart_due: false,
            calls: Vec::new(),
        };
        let anew = image.generalized && !image.skip_rearm;
        if image.generalized {
            pc.state.generalized = false;
            pc.state.domain = None;
        }
        if anew {
            pc.reset_timers();
        }
        pc.notice_hardware();
        let what = WorldDeed::FirstBoot { anew, cmid: pc.state.cmid.clone() };
        world.note(hardware, None, what, Code::OK);
        pc
    }

    /// What rearming does at the next boot: new timers, a new client machine ID, no activation of Windows.
    fn reset_timers(&mut self) {
        let now = self.world.now();
        let number = self.world.next_first_boot().to_string();
        self.state.cmid = digits::guid(&["cmid", &self.hardware.board, &number]);
        self.state.grace_until = self.state.is_windows_7().then(|| add(now, state::GRACE));
        self.state.out_of_tolerance_since = None;
        self.state.asked.clear();
        for product in self.state.products().filter(|product| *product != SimProduct::Office) {
            if let Some(place) = self.state.place(product) {
                *place.licence = Licence::Unactivated;
                *place.since = now;
            }
        }
    }

    /// Starts the clock of Windows 7 on hardware that it was not activated on.
    fn notice_hardware(&mut self) {
        let foreign = matches!(&self.state.licence, Licence::Permanent { board } if *board != self.hardware.board);
        self.state.out_of_tolerance_since = match self.state.out_of_tolerance_since {
            since @ Some(_) if foreign => since,
            _ => foreign.then(|| self.world.now()),
        };
    }

    /// The calls made so far, in order.
    pub fn calls(&self) -> &[LicensingCall] {
        &self.calls
    }

    /// The state as it is now: what an image captured from this PC would hold.
    pub fn state(&self) -> &LicensingState {
        &self.state
    }

    /// The hardware that it runs on.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Today's installation ID of Windows, where there is a key.
    pub fn installation_id(&self) -> Option<InstallationId> {
        let key = self.state.key.as_ref()?;
        self.state.installation_id(SimProduct::Windows, key, &self.hardware)
    }

    /// Puts other hardware around the disk.
    pub fn replace_hardware(&mut self, hardware: Hardware) {
        let from = std::mem::replace(&mut self.hardware, hardware).board;
        self.notice_hardware();
        self.world.note(&self.hardware, None, WorldDeed::HardwareReplaced { from }, Code::OK);
    }

    /// Sets the PC's clock ahead of the world's, or behind it, in minutes.
    pub fn set_clock_skew(&mut self, minutes: i32) {
        self.clock_skew = minutes;
    }

    /// `SoftwareProtectionPlatform\Activation\Manual`.
    pub fn set_manual(&mut self, manual: bool) {
        self.state.manual = manual;
    }

    /// Whether Windows does anything without being told to; a test that is not about that switches it off.
    pub fn set_acts_by_itself(&mut self, acts: bool) {
        self.acts_by_itself = acts;
    }

    /// Whether a KMS client asks its host without being told to.
    pub fn set_asks_kms_by_itself(&mut self, asks: bool) {
        self.asks_kms_by_itself = asks;
    }

    /// Joins a domain.
    pub fn join_domain(&mut self, domain: &str) {
        self.state.domain = Some(domain.to_ascii_lowercase());
    }

    /// Leaves the domain, and with it what Active Directory activated.
    pub fn leave_domain(&mut self) {
        self.state.domain = None;
    }

    /// Restarts the PC, which brings a rearm into force.
    pub fn restart(&mut self) {
        if std::mem::take(&mut self.restart_due) {
            self.reset_timers();
            let what = WorldDeed::Rearmed { cmid: self.state.cmid.clone() };
            self.world.note(&self.hardware, None, what, Code::OK);
        }
    }

    /// Spends one rearm, for [`reset_timers`](Self::reset_timers) at the next boot; under SkipRearm it does nothing.
    fn try_rearm(&mut self) -> Result<(), Code> {
        if !self.state.skip_rearm {
            self.state.rearms_left = self.state.rearms_left.checked_sub(1).ok_or(Code::REARM_LIMIT)?;
            self.restart_due = true;
        }
        Ok(())
    }

    /// `sysprep /generalize`: spends one rearm, unless SkipRearm is set or a KMS host activated this Windows; each boot
    /// from an image of the result is a first boot. The PC's own next boot is not simulated.
    ///
    /// # Errors
    /// [`Code::REARM_LIMIT`], as sysprep writes it into its log; nothing is changed then.
    pub fn generalize(&mut self) -> Result<LicensingState, Code> {
        let (status, ..) = self.state.standing(SimProduct::Windows, &self.hardware, self.world.now());
        let client = self.state.key.as_ref().is_some_and(|key| key.channel == Channel::KmsClient);
        let free = self.state.skip_rearm || (client && status == LicenseStatus::Licensed);
        if !free {
            self.state.rearms_left = self.state.rearms_left.checked_sub(1).ok_or(Code::REARM_LIMIT)?;
        }
        self.state.generalized = true;
        Ok(self.state.clone())
    }
}
