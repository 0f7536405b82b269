//! What keeps an image off a PC before a byte is written: strategies that depend on the PC's own hardware.

use serde::{Deserialize, Serialize};

use super::codes::Code;
use super::hardware::HardwareFacts;
use super::oem::{self, OemRefusal};
use super::preactivated::{self, PreactivatedRefusal};
use crate::image::WindowsFacts;
use crate::room::Language;

/// Why an image does not belong on a PC under its strategy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "strategy")]
pub enum ImagingRefusal {
    /// Image and firmware do not belong together.
    Oem {
        /// In which way.
        why: OemRefusal,
    },
    /// The image is another PC's.
    Preactivated {
        /// In which way.
        why: PreactivatedRefusal,
    },
}

impl ImagingRefusal {
    /// The code that Windows would give, where it has one for this.
    pub fn code(&self) -> Option<Code> {
        match self {
            ImagingRefusal::Oem { why } => why.code(),
            ImagingRefusal::Preactivated { why } => why.code(),
        }
    }

    /// For people: what is wrong and what to do. Nothing was written.
    pub fn text(&self, language: Language) -> String {
        let why = match self {
            ImagingRefusal::Oem { why } => why.text(language),
            ImagingRefusal::Preactivated { why } => why.text(language),
        };
        match language {
            Language::En => format!("not imaged, the disk was left alone: {why}"),
            Language::De => format!("nicht geklont, die Platte blieb unberührt: {why}"),
        }
    }
}

/// What stands against writing `image` onto a PC with `hardware` under the strategy of this name. An agent that tells
/// nothing of its hardware has unknown hardware, which these strategies refuse.
pub fn before_imaging(strategy: &str, image: &WindowsFacts, hardware: &HardwareFacts) -> Option<ImagingRefusal> {
    match strategy {
        "oem" => oem::fit(image, hardware).err().map(|why| ImagingRefusal::Oem { why }),
        "preactivated" => preactivated::fit(image, hardware).err().map(|why| ImagingRefusal::Preactivated { why }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strategies_that_depend_on_the_hardware_refuse() {
        let (image, unknown) = (WindowsFacts::default(), HardwareFacts::default());
        for strategy in ["none", "grace", "mak", "mak-proxy", "kms", "ad"] {
            assert_eq!(before_imaging(strategy, &image, &unknown), None, "{strategy}");
        }
        for strategy in ["oem", "preactivated"] {
            let refusal = before_imaging(strategy, &image, &unknown).unwrap();
            assert!(refusal.text(Language::De).starts_with("nicht geklont, die Platte blieb unberührt: "));
            let json = serde_json::to_string(&refusal).unwrap();
            assert_eq!(serde_json::from_str::<ImagingRefusal>(&json).unwrap(), refusal, "{json}");
        }
    }
}
