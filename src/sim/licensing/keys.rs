//! Which products and product keys there are in a simulated world.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::activation::licensing::{Channel, OFFICE_APPLICATION, WINDOWS_APPLICATION};

/// What a key can belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimProduct {
    /// Windows itself.
    Windows,
    /// Office, the second application.
    Office,
    /// Extended security updates for Windows 10, first year.
    Esu1,
    /// The second year.
    Esu2,
    /// The third year.
    Esu3,
}

impl SimProduct {
    /// The additions of Windows.
    pub const ADDITIONS: [SimProduct; 3] = [SimProduct::Esu1, SimProduct::Esu2, SimProduct::Esu3];

    /// `ApplicationID`.
    pub fn application(self) -> &'static str {
        if self == SimProduct::Office { OFFICE_APPLICATION } else { WINDOWS_APPLICATION }
    }

    /// The activation ID, where Microsoft's page on extended security updates names it.
    pub fn documented_id(self) -> Option<&'static str> {
        match self {
            SimProduct::Windows | SimProduct::Office => None,
            SimProduct::Esu1 => Some("f520e45e-7413-4a34-a497-d2765967d094"),
            SimProduct::Esu2 => Some("1043add5-23b1-4afb-9a0f-64343c8f3f8d"),
            SimProduct::Esu3 => Some("83d49986-add3-41d7-ba33-87c7bfb5c0fb"),
        }
    }

    /// Whether it is an addition to Windows, which cannot be activated without its base.
    pub fn is_addition(self) -> bool {
        Self::ADDITIONS.contains(&self)
    }
}

/// What a product key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its kind.
    pub channel: Channel,
    /// Whose key it is.
    pub product: SimProduct,
    /// The edition of Windows that it belongs to; `None` for any.
    pub edition: Option<String>,
    /// The builds of Windows that take it.
    pub builds: RangeInclusive<u32>,
}

impl KeyFacts {
    fn any(channel: Channel, product: SimProduct) -> Self {
        Self { channel, product, edition: None, builds: 0..=u32::MAX }
    }

    /// A key of Windows, of any edition and version.
    pub fn windows(channel: Channel) -> Self {
        Self::any(channel, SimProduct::Windows)
    }

    /// A key of Office.
    pub fn office(channel: Channel) -> Self {
        Self::any(channel, SimProduct::Office)
    }

    /// A MAK for extended security updates, which only Windows 10 22H2 takes.
    pub fn addition(product: SimProduct) -> Self {
        Self { builds: 19_045..=19_045, ..Self::any(Channel::Mak, product) }
    }

    /// Only for this edition.
    pub fn edition(self, edition: &str) -> Self {
        Self { edition: Some(edition.to_owned()), ..self }
    }

    /// Only for these builds.
    pub fn builds(self, builds: RangeInclusive<u32>) -> Self {
        Self { builds, ..self }
    }

    pub(super) fn fits(&self, edition: &str, build: u32) -> bool {
        self.builds.contains(&build) && self.edition.as_ref().is_none_or(|own| own.eq_ignore_ascii_case(edition))
    }
}
