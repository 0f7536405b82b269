//! The files of a simulated Windows.

use crate::sim::volume::hive::HiveBuilder;
use crate::sim::volume::{Contents, NtfsBuilder, VolumeError};

use super::{KeyChannel, MasterOptions, Noise, SimWindows, noise};

pub(super) const PAGE_FILE: &str = "pagefile.sys";

/// Where files lie, and out of 16 how many of them.
const FOLDERS: [(u64, &str, &str); 6] = [
    (6, "Windows/System32", "dll"),
    (3, "Windows/WinSxS", "manifest"),
    (1, "Windows/Fonts", "ttf"),
    (3, "Program Files", "exe"),
    (1, "ProgramData/Schule", "dat"),
    (2, "Users/Public/Documents", "docx"),
];

const SYLLABLES: [&str; 16] =
    ["win", "net", "api", "ms", "core", "sys", "ui", "drv", "sec", "reg", "wmi", "gdi", "shell", "time", "fs", "klas"];

/// Adds files until the volume uses about as much as the options say.
pub(super) fn fill(volume: &mut NtfsBuilder, options: &MasterOptions) -> Result<(), VolumeError> {
    let seed = options.seed;
    volume.file("Windows/System32/config/SOFTWARE", software(&options.windows, seed))?;
    volume.file("Windows/System32/config/SYSTEM", system())?;
    for (i, name) in (0..).zip(["SAM", "SECURITY", "DEFAULT"]) {
        let hive = HiveBuilder::new().key(name).value(name, "F", 3, vec![i; 200]).build();
        volume.file(&format!("Windows/System32/config/{name}"), hive)?;
    }
    volume.file("Windows/System32/ntoskrnl.exe", noise::contents(seed ^ 1, 11 << 20))?;
    volume.file("Windows/win.ini", b"; for 16-bit app support\r\n[fonts]\r\n[extensions]\r\n".to_vec())?;
    for folder in ["Windows/Temp", "Users/Public/Downloads", "PerfLogs"] {
        volume.folder(folder)?;
    }
    // Yesterday's memory: none of it may reach a clone.
    let page_file = options.bytes_used / 16 / 4096 * 4096;
    volume.scattered(PAGE_FILE, garbage(seed ^ 2, page_file), 8)?;
    volume.scattered("swapfile.sys", garbage(seed ^ 3, page_file / 8 / 4096 * 4096), 2)?;

    // The file system itself takes about 5 MiB and half a percent.
    let fixed = (16 << 20) + page_file + page_file / 8 + options.bytes_used / 200;
    let mut left = options.bytes_used.saturating_sub(fixed);
    let mut noise = Noise::of(seed, 4);
    let scale = options.bytes_used.div_ceil(4 << 30);
    let mut number = 0u64;
    while left > 4096 {
        let len = match noise.below(16) {
            0..7 => 400 + noise.below(16 << 10),
            7..14 => (16 << 10) + noise.below(240 << 10),
            _ => (256 << 10) + noise.below(3 << 20),
        };
        let len = (len * scale).min(left);
        left -= len.next_multiple_of(4096).min(left);
        volume.file(&name(&mut noise, number), noise::contents(seed.rotate_left(17) ^ number, len))?;
        number += 1;
    }
    Ok(())
}

fn garbage(seed: u64, len: u64) -> Contents {
    let fill = move |offset: u64, buf: &mut [u8]| Noise::of(seed, offset).fill(buf);
    Contents::Made { len, fill: Box::new(fill) }
}

fn name(noise: &mut Noise, number: u64) -> String {
    let mut choice = noise.below(16);
    let (_, folder, extension) = FOLDERS
        .into_iter()
        .find(|(share, ..)| {
            let here = choice < *share;
            choice = choice.saturating_sub(*share);
            here
        })
        .unwrap_or(FOLDERS[0]);
    let mut word = || SYLLABLES[noise.below(16) as usize];
    let stem = format!("{}{}{}", word(), word(), word());
    match folder {
        "Windows/WinSxS" => {
            format!("{folder}/amd64_{stem}_31bf3856ad364e35_10.0.{number}_none_{number:016x}/{stem}.{extension}")
        }
        "Program Files" => format!("{folder}/{}/{stem}{number}.{extension}", word()),
        "Users/Public/Documents" => format!("{folder}/Übung {number} für die Klasse ({stem}).{extension}"),
        _ => format!("{folder}/{stem}{number}.{extension}"),
    }
}

fn software(windows: &SimWindows, seed: u64) -> Vec<u8> {
    const VERSION: &str = r"Microsoft\Windows NT\CurrentVersion";
    let state = if windows.generalized { "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE" } else { "IMAGE_STATE_COMPLETE" };
    let build = windows.build.to_string();
    let mut hive = HiveBuilder::new()
        .text(VERSION, "CurrentBuild", &build)
        .text(VERSION, "CurrentBuildNumber", &build)
        .text(VERSION, "EditionID", &windows.edition)
        .text(VERSION, "ProductName", &windows.product)
        .text(VERSION, "RegisteredOrganization", "Schule")
        .value(VERSION, "DigitalProductId4", 3, product_id(windows.key_channel))
        .number(&format!(r"{VERSION}\SoftwareProtectionPlatform"), "SkipRearm", u32::from(windows.skip_rearm))
        .text(r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState", state);
    let mut noise = Noise::of(seed, 5);
    for _ in 0..1500 {
        let class = format!(r"Classes\CLSID\{{{:08x}-{:04x}}}", noise.next() as u32, noise.next() as u16);
        let server = format!(r"%SystemRoot%\system32\{}.dll", SYLLABLES[noise.below(16) as usize]);
        hive = hive.text(&format!(r"{class}\InprocServer32"), "", &server);
    }
    hive.build()
}

fn system() -> Vec<u8> {
    HiveBuilder::new()
        .number("Select", "Current", 1)
        .number(r"Setup\Status\SysprepStatus", "GeneralizationState", 7)
        .number(r"Setup\Status\SysprepStatus", "CleanupState", 2)
        .text(r"ControlSet001\Control\ComputerName\ComputerName", "ComputerName", "MASTER")
        .key(r"ControlSet001\Services")
        .build()
}

/// `DigitalProductId4` with nothing in it but the channel; a master of this kind has no key to lose.
fn product_id(channel: KeyChannel) -> Vec<u8> {
    let words = match channel {
        KeyChannel::Mak => "Volume:MAK",
        KeyChannel::Gvlk => "Volume:GVLK",
        KeyChannel::Oem => "OEM:DM",
        KeyChannel::Retail => "Retail",
        KeyChannel::None => "",
    };
    let mut out = vec![0; 0x4f8];
    out[..4].copy_from_slice(&0x4f8u32.to_le_bytes());
    for (at, byte) in (0x3f8..).zip(words.encode_utf16().flat_map(u16::to_le_bytes)) {
        out[at] = byte;
    }
    out
}

/// Stands in for a boot loader: begins as a program does, and is long enough to be worth restoring.
pub(super) fn boot_stub(seed: u64) -> Vec<u8> {
    let mut out = vec![0; 1_600_000];
    Noise::of(seed, 6).fill(&mut out);
    out[..2].copy_from_slice(b"MZ");
    out
}

pub(super) fn boot_configuration() -> Vec<u8> {
    HiveBuilder::new().key("Description").number("Description", "System", 1).key("Objects").build()
}
