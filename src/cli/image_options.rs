//! The options of `klonwerk image`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::activation::hardware::HardwareIdentity;
use crate::agent::linux::hardware;
use crate::cli::hardware::WrittenFacts;
use crate::cli::image::{self, Output};
use crate::cli::place::Place;
use crate::clock::{Clock, SystemClock};
use crate::disk::file::{Access, FileDisk};
use crate::disk::usage::KernelView;
use crate::image::{FirmwareKind, KeyChannel, LEAF_BYTES, WindowsFacts};
use crate::packs::{self, CaptureOptions, ImageStore, SigningKeyFile};
use crate::room::{ImageName, ImageRef, ImageVersion, ImageWish, Language};

/// `klonwerk image …`
#[derive(Debug, Args)]
pub(super) struct ImageOptions {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Make an image of a master's disk.
    Capture {
        /// The disk: a block device or a raw file.
        #[arg(long)]
        from: PathBuf,
        /// The image's name, or name@version. Without a version it is today's date.
        #[arg(long)]
        name: String,
        /// The Windows build number, if it cannot be read.
        #[arg(long)]
        build: Option<u32>,
        /// The edition, such as Education.
        #[arg(long)]
        edition: Option<String>,
        /// The product name, such as "Windows 11 Education".
        #[arg(long)]
        product: Option<String>,
        /// Whether sysprep /generalize was run last: true or false.
        #[arg(long)]
        generalized: Option<bool>,
        /// Whether SkipRearm is set: true or false.
        #[arg(long)]
        skip_rearm: Option<bool>,
        /// The channel of the key inside: mak, gvlk, oem, retail or none.
        #[arg(long, value_parser = from_word::<KeyChannel>)]
        key_channel: Option<KeyChannel>,
        /// The firmware that starts it: bios or uefi.
        #[arg(long, value_parser = from_word::<FirmwareKind>)]
        firmware: Option<FirmwareKind>,
        /// For an OEM Windows 7: the vendor, as the firmware of its PCs names it, such as DELL.
        #[arg(long, value_name = "VENDOR")]
        oem_vendor: Option<String>,
        /// The image was captured in the activated state and belongs to one PC: this one, or the one whose facts
        /// `klonwerk agent hardware --json` wrote into FILE.
        #[arg(long, value_name = "FILE|this", num_args = 0..=1, default_missing_value = "this")]
        bind_to_hardware: Option<PathBuf>,
    },
    /// List the images.
    List,
    /// Show one image.
    Show {
        /// name@version, or a name for its newest version.
        image: ImageWish,
    },
    /// Read every stored leaf and compare it with its hash.
    Verify,
    /// Free the space of leaves that no image needs.
    Gc {
        /// Keep what was written less than so many hours ago.
        #[arg(long, default_value_t = 24)]
        grace_hours: u64,
    },
}

fn from_word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| error.to_string())
}

fn image_ref(name: &str, clock: &dyn Clock) -> anyhow::Result<ImageRef> {
    if name.contains('@') {
        return Ok(name.parse()?);
    }
    let name: ImageName = name.parse()?;
    let today = clock.now().to_zoned(jiff::tz::TimeZone::system()).date();
    let version: ImageVersion = today.to_string().parse()?;
    Ok(ImageRef { name, version })
}

/// The PC that an image is bound to: this one, or that of a file.
fn bound_to(source: &Path) -> anyhow::Result<HardwareIdentity> {
    let facts = if source == Path::new("this") {
        hardware::facts(&KernelView::default())
    } else {
        let bytes = std::fs::read(source).with_context(|| {
            format!("cannot read {}; `klonwerk agent hardware --json` makes the file on the PC", source.display())
        })?;
        let written: WrittenFacts = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} holds no hardware facts; `klonwerk agent hardware --json` makes the file on the PC",
                source.display()
            )
        })?;
        written.hardware
    };
    facts.identity().context(
        "the PC's firmware says too little to bind an image to it: neither a UUID of its own nor a board serial number (only root may read them)",
    )
}

/// Runs `klonwerk image`; tells whether all is well.
pub(super) fn run(options: ImageOptions, language: Language, json: bool, out: &mut dyn Write) -> anyhow::Result<bool> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let clock = SystemClock;
    let state = options.place.state();
    let (images, key) = (state.images(), state.signing_key());
    let mut to = Output { out, language, json };
    let open = |access| {
        ImageStore::open_as(&images, access).with_context(|| format!("cannot open the images in {}", images.display()))
    };
    match options.command {
        ImageCommand::Capture {
            from,
            name,
            build,
            edition,
            product,
            generalized,
            skip_rearm,
            key_channel,
            firmware,
            oem_vendor,
            bind_to_hardware,
        } => {
            let image = image_ref(&name, &clock)?;
            let bound_to = bind_to_hardware.as_deref().map(bound_to).transpose()?;
            std::fs::create_dir_all(&state.0).with_context(|| {
                format!("cannot make the folder {}; give another one with --state", state.0.display())
            })?;
            let store = open(packs::Access::Exclusive)?;
            let key = SigningKeyFile::open_or_create(&key)?;
            let disk = FileDisk::open(&from, Access::ReadOnly)?;
            let facts = WindowsFacts {
                build,
                edition,
                product,
                generalized,
                skip_rearm,
                key_channel,
                firmware,
                oem_vendor,
                bound_to,
            };
            let capture = CaptureOptions { image, leaf_bytes: LEAF_BYTES, facts, now: clock.now(), threads };
            image::capture(&store, &key, &disk, &capture, &|_| {}, &mut to)?;
            Ok(true)
        }
        ImageCommand::List if !images.exists() => image::none(&mut to).map(|()| true),
        ImageCommand::List => image::list(&open(packs::Access::ReadOnly)?, &mut to).map(|()| true),
        ImageCommand::Show { image } => image::show(&open(packs::Access::ReadOnly)?, &image, &mut to).map(|()| true),
        ImageCommand::Verify => {
            let store = open(packs::Access::ReadOnly)?;
            let key = if key.exists() { Some(SigningKeyFile::open_or_create(&key)?.verifying_key()) } else { None };
            image::verify(&store, key.as_ref(), threads, &|_| {}, &mut to)
        }
        ImageCommand::Gc { grace_hours } => {
            let store = open(packs::Access::Exclusive)?;
            image::gc(&store, Duration::from_secs(grace_hours.saturating_mul(3600)), clock.now(), &mut to)
                .map(|()| true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_bound_to_the_pc_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let bind = |text: &str| {
            let file = folder.path().join("pc.json");
            std::fs::write(&file, text).unwrap();
            bound_to(&file).map_err(|error| format!("{error:#}"))
        };
        let uuid = "4c4c4544-0042-4a10-8052-b4c04f513233";
        let own = bind(&format!(r#"{{ "hardware": {{ "uuid": "{uuid}" }} }}"#)).unwrap();
        // Whatever else the file claims to be: the facts decide.
        let claim = format!(r#"{{ "hardware": {{ "uuid": "{uuid}" }}, "identity": "{}" }}"#, "00".repeat(32));
        assert_eq!(bind(&claim), Ok(own));
        for (text, why) in [
            (r#"{ "hardware": {} }"#, "says too little"),
            (r#"{ "hardware": null, "identity": null }"#, "holds no hardware facts"),
            ("{}", "holds no hardware facts"),
            ("\u{feff}", "agent hardware --json"),
            ("", "agent hardware --json"),
        ] {
            let error = bind(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let error = format!("{:#}", bound_to(&folder.path().join("none.json")).unwrap_err());
        assert!(error.contains("cannot read") && error.contains("agent hardware --json"), "{error}");
    }
}
