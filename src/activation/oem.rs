//! Strategy `oem`: whether an image and a PC's firmware belong together, decided before a disk is written.
//!
//! Windows 7 activates itself where three things are of one vendor: the OEM key and certificate in the image, and the SLIC
//! table in the firmware. Windows 8 and later take the PC's own key out of the MSDM table; Windows 10 and 11 may also find
//! a digital licence at Microsoft, which nobody but Windows can ask for. Sources: Microsoft, "Plan for volume activation"
//! (OEM activation); "Reactivating Windows after a hardware change". Nothing here writes a table, a certificate or a key.

use serde::{Deserialize, Serialize};

use super::acpi::{Msdm, Slic};
use super::codes::{Code, in_windows_words};
use super::hardware::{HardwareFacts, Label, Table};
use crate::image::{KeyChannel, WindowsFacts};
use crate::room::Language;

/// First builds: Windows 7, 8 and 10.
const WINDOWS_7: u32 = 7600;
const WINDOWS_8: u32 = 9200;
const WINDOWS_10: u32 = 10240;

/// The SLIC version that Windows 7 asks for: 2.1.
const SLIC_2_1: u32 = 0x2_0001;

/// Why an image will activate on a PC by what its vendor put there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum OemFit {
    /// Image and SLIC table are of one vendor.
    Slic {
        /// Which.
        vendor: Label,
    },
    /// The firmware has a key of its own.
    FirmwareKey,
    /// Perhaps: the firmware has none, but Microsoft may hold a digital licence for this hardware.
    DigitalLicence,
}

/// Why an image does not belong on a PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum OemRefusal {
    /// Nobody knows which Windows the image holds.
    #[error(
        "nobody knows which Windows the image holds; give its build with `klonwerk image capture --build` or in site.yaml"
    )]
    UnknownWindows,
    /// Nobody knows which vendor's Windows the image holds.
    #[error(
        "nobody knows whose OEM Windows 7 the image holds; give the vendor with `klonwerk image capture --oem-vendor` or `oem_vendor` in site.yaml"
    )]
    UnknownVendor,
    /// The image holds a key of another kind.
    #[error("the image holds a {} key, not the vendor's; capture the vendor's Windows, or use the strategy for this key", channel_name(*.channel))]
    NoOemImage {
        /// Which kind.
        channel: KeyChannel,
    },
    /// The firmware's table could not be read.
    #[error("the firmware's {table} table could not be read; the imaging agent needs root and /sys/firmware/acpi")]
    UnknownFirmware {
        /// Which.
        table: LicenceTable,
    },
    /// No SLIC table, and the image wants one.
    #[error("the firmware has no SLIC table; this PC was not sold with Windows 7, or needs a BIOS update")]
    NoSlic {
        /// Whether the image holds a volume key, which asks for the marker too.
        volume_key: bool,
    },
    /// The SLIC table is damaged or contradicts itself.
    #[error("the firmware's SLIC table is damaged; ask the vendor for a BIOS update")]
    BadSlic,
    /// The SLIC table has no Windows marker.
    #[error("the firmware's SLIC table has no Windows marker; ask the vendor for a BIOS update")]
    NoMarker,
    /// The marker is for an older Windows.
    #[error(
        "the firmware's Windows marker is of version {}.{}, older than the image's Windows needs; ask the vendor for a BIOS update",
        .version >> 16,
        .version & 0xFFFF
    )]
    OlderMarker {
        /// The SLIC version.
        version: u32,
    },
    /// Image and firmware are of two vendors.
    #[error("the image is of {image}, the PC's firmware of {firmware}; use the vendor's image for this PC")]
    OtherVendor {
        /// The image's.
        image: String,
        /// The firmware's.
        firmware: Label,
    },
    /// The firmware has no key, and Windows 8 knows no other way.
    #[error("the firmware has no Windows key; this PC was not sold with Windows 8 or later")]
    NoFirmwareKey,
    /// The firmware's key table is unusable.
    #[error("the firmware's key table (MSDM) is unusable; ask the vendor")]
    BadFirmwareKey,
}

/// A licence table in a PC's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LicenceTable {
    /// For Windows Vista and 7.
    Slic,
    /// For Windows 8 and later.
    Msdm,
}

impl std::fmt::Display for LicenceTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LicenceTable::Slic => "SLIC",
            LicenceTable::Msdm => "MSDM",
        })
    }
}

fn channel_name(channel: KeyChannel) -> &'static str {
    match channel {
        KeyChannel::Mak => "MAK",
        KeyChannel::Gvlk => "KMS client",
        KeyChannel::Oem => "OEM",
        KeyChannel::Retail => "retail",
        KeyChannel::None => "missing",
    }
}

impl OemRefusal {
    /// The code that Windows would give, where it has one for this.
    pub fn code(&self) -> Option<Code> {
        let code = match self {
            OemRefusal::NoSlic { volume_key: false } => Code::NO_SLIC,
            OemRefusal::NoSlic { volume_key: true } => Code::NO_QUALIFYING_OEM,
            OemRefusal::NoMarker | OemRefusal::OlderMarker { .. } => Code::NO_OEM_MARKER,
            OemRefusal::BadSlic => Code::BAD_OEM_MARKER,
            OemRefusal::OtherVendor { .. } => Code::OTHER_OEM,
            OemRefusal::NoFirmwareKey => Code::NO_FIRMWARE_KEY,
            OemRefusal::BadFirmwareKey => Code::BAD_FIRMWARE_KEY,
            OemRefusal::UnknownWindows
            | OemRefusal::UnknownVendor
            | OemRefusal::NoOemImage { .. }
            | OemRefusal::UnknownFirmware { .. } => return None,
        };
        Some(code)
    }

    /// For people: what is wrong and what to do, and what Windows would say.
    pub fn text(&self, language: Language) -> String {
        let line = match language {
            Language::En => self.to_string(),
            Language::De => self.german(),
        };
        match self.code() {
            Some(code) => format!("{line} {}", in_windows_words(code, language)),
            None => line,
        }
    }

    fn german(&self) -> String {
        match self {
            OemRefusal::UnknownWindows => {
                "niemand weiß, welches Windows das Image enthält; Build mit `klonwerk image capture --build` oder in site.yaml angeben".to_owned()
            }
            OemRefusal::UnknownVendor => {
                "niemand weiß, von welchem Hersteller das OEM-Windows 7 im Image ist; angeben mit `klonwerk image capture --oem-vendor` oder `oem_vendor` in site.yaml".to_owned()
            }
            OemRefusal::NoOemImage { channel: KeyChannel::None } => {
                "das Image enthält keinen Schlüssel, also auch nicht den des Herstellers; Windows des Herstellers aufnehmen".to_owned()
            }
            OemRefusal::NoOemImage { channel: of } => format!(
                "das Image enthält einen Schlüssel der Art {}, nicht den des Herstellers; Windows des Herstellers aufnehmen oder die Strategie für diesen Schlüssel verwenden",
                match of {
                    KeyChannel::Gvlk => "KMS-Client",
                    KeyChannel::Retail => "Einzelhandel",
                    other => channel_name(*other),
                }
            ),
            OemRefusal::UnknownFirmware { table } => format!(
                "die Tabelle {table} der Firmware war nicht lesbar; der Agent braucht root und /sys/firmware/acpi"
            ),
            OemRefusal::NoSlic { .. } => {
                "die Firmware hat keine SLIC-Tabelle; der PC wurde nicht mit Windows 7 verkauft oder braucht ein BIOS-Update".to_owned()
            }
            OemRefusal::BadSlic => {
                "die SLIC-Tabelle der Firmware ist beschädigt; beim Hersteller nach einem BIOS-Update fragen".to_owned()
            }
            OemRefusal::NoMarker => {
                "der SLIC-Tabelle der Firmware fehlt die Windows-Kennung; beim Hersteller nach einem BIOS-Update fragen".to_owned()
            }
            OemRefusal::OlderMarker { version } => format!(
                "die Windows-Kennung der Firmware hat die Version {}.{} und ist älter, als das Windows im Image verlangt; beim Hersteller nach einem BIOS-Update fragen",
                version >> 16,
                version & 0xFFFF
            ),
            OemRefusal::OtherVendor { image, firmware } => format!(
                "das Image ist von {image}, die Firmware des PCs von {firmware}; Image des Herstellers für diesen PC verwenden"
            ),
            OemRefusal::NoFirmwareKey => {
                "die Firmware hat keinen Windows-Schlüssel; der PC wurde nicht mit Windows 8 oder neuer verkauft".to_owned()
            }
            OemRefusal::BadFirmwareKey => {
                "die Schlüsseltabelle (MSDM) der Firmware ist unbrauchbar; beim Hersteller nachfragen".to_owned()
            }
        }
    }
}

/// Whether Windows on `image` would be activated by what the vendor put into a PC with `hardware`.
///
/// # Errors
/// [`OemRefusal`]: nothing may be written then. What is not known is refused too.
pub fn fit(image: &WindowsFacts, hardware: &HardwareFacts) -> Result<OemFit, OemRefusal> {
    let build = image.build.ok_or(OemRefusal::UnknownWindows)?;
    // On any Windows a MAK would go on activating by itself, and be counted.
    if image.key_channel == Some(KeyChannel::Mak) && build >= WINDOWS_8 {
        return Err(OemRefusal::NoOemImage { channel: KeyChannel::Mak });
    }
    if build < WINDOWS_8 { by_slic(image, build, &hardware.acpi.slic) } else { by_msdm(build, &hardware.acpi.msdm) }
}

fn by_slic(image: &WindowsFacts, build: u32, table: &Table<Slic>) -> Result<OemFit, OemRefusal> {
    let volume_key = matches!(image.key_channel, Some(KeyChannel::Mak | KeyChannel::Gvlk));
    let slic = match table {
        Table::Unknown => return Err(OemRefusal::UnknownFirmware { table: LicenceTable::Slic }),
        Table::Absent => return Err(OemRefusal::NoSlic { volume_key }),
        Table::Damaged { .. } => return Err(OemRefusal::BadSlic),
        Table::Present(slic) => slic,
    };
    match image.key_channel {
        Some(KeyChannel::Oem) | None => {}
        Some(channel) => return Err(OemRefusal::NoOemImage { channel }),
    }
    let vendor = image.oem_vendor.as_deref().ok_or(OemRefusal::UnknownVendor)?;
    let marker = slic.marker.as_ref().ok_or(OemRefusal::NoMarker)?;
    if !slic.consistent() {
        return Err(OemRefusal::BadSlic);
    }
    if build >= WINDOWS_7 && marker.version < SLIC_2_1 {
        return Err(OemRefusal::OlderMarker { version: marker.version });
    }
    if !slic.oem_id.is(vendor) {
        return Err(OemRefusal::OtherVendor { image: vendor.to_owned(), firmware: slic.oem_id.clone() });
    }
    Ok(OemFit::Slic { vendor: slic.oem_id.clone() })
}

fn by_msdm(build: u32, table: &Table<Msdm>) -> Result<OemFit, OemRefusal> {
    match table {
        Table::Unknown => Err(OemRefusal::UnknownFirmware { table: LicenceTable::Msdm }),
        Table::Present(Msdm { has_key: true }) => Ok(OemFit::FirmwareKey),
        _ if build >= WINDOWS_10 => Ok(OemFit::DigitalLicence),
        Table::Absent => Err(OemRefusal::NoFirmwareKey),
        Table::Damaged { .. } | Table::Present(Msdm { has_key: false }) => Err(OemRefusal::BadFirmwareKey),
    }
}

#[cfg(test)]
mod tests;
