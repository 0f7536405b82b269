//! What the licensing service tells: products and the service itself, as WMI's two classes have them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::confirmation::{InstallationId, ProductRef};
use crate::room::Language;

/// `ApplicationID` of Windows itself.
pub const WINDOWS_APPLICATION: &str = "55c92734-d682-4d71-983e-d6ec3f16059f";

/// `ApplicationID` of Office 2013 and later.
pub const OFFICE_APPLICATION: &str = "0ff1ce16-a989-479d-af46-f275c6370663";

/// `ApplicationID` of Office 2010.
pub const OFFICE_2010_APPLICATION: &str = "59a52881-a989-479d-af46-f275c6370663";

/// `SoftwareLicensingProduct.LicenseStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicenseStatus {
    /// 0
    Unlicensed,
    /// 1
    Licensed,
    /// 2: out of the box, the first grace period.
    OobGrace,
    /// 3: out of tolerance, after changed hardware or a lapsed KMS activation.
    OotGrace,
    /// 4
    NonGenuineGrace,
    /// 5: not activated, and Windows says so.
    Notification,
    /// 6
    ExtendedGrace,
}

impl LicenseStatus {
    /// From WMI's number.
    pub fn from_wmi(value: u32) -> Option<Self> {
        use LicenseStatus::*;
        [Unlicensed, Licensed, OobGrace, OotGrace, NonGenuineGrace, Notification, ExtendedGrace]
            .get(usize::try_from(value).ok()?)
            .copied()
    }

    /// Whether a grace period runs.
    pub fn is_grace(self) -> bool {
        use LicenseStatus::*;
        matches!(self, OobGrace | OotGrace | NonGenuineGrace | ExtendedGrace)
    }
}

/// How volume activation was done (`VLActivationType`) or may be done (`VLActivationTypeEnabled`): Windows 8 and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VlActivationType {
    /// 0: in any way, Active Directory first. Only ever allowed, never done.
    Any,
    /// 1
    ActiveDirectory,
    /// 2
    Kms,
    /// 3: by token, which is not used here.
    Token,
}

impl VlActivationType {
    /// From WMI's number.
    pub fn from_wmi(value: u32) -> Option<Self> {
        use VlActivationType::*;
        [Any, ActiveDirectory, Kms, Token].get(usize::try_from(value).ok()?).copied()
    }

    /// WMI's number.
    pub fn to_wmi(self) -> u32 {
        match self {
            VlActivationType::Any => 0,
            VlActivationType::ActiveDirectory => 1,
            VlActivationType::Kms => 2,
            VlActivationType::Token => 3,
        }
    }
}

/// How an installed key is activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Multiple activation key: each online activation counts.
    Mak,
    /// Generic volume licence key: KMS or Active Directory.
    KmsClient,
    /// A KMS host's own key, which must never be on a client.
    KmsHost,
    /// Retail.
    Retail,
    /// A vendor's key.
    Oem,
    /// Something else: time-based, virtual machines, …
    Other,
}

impl Channel {
    /// For people.
    pub fn title(self, language: Language) -> &'static str {
        match (self, language) {
            (Channel::Mak, _) => "MAK",
            (Channel::KmsClient, Language::En) => "a KMS client key (GVLK)",
            (Channel::KmsClient, Language::De) => "KMS-Clientschlüssel (GVLK)",
            (Channel::KmsHost, Language::En) => "a KMS host key",
            (Channel::KmsHost, Language::De) => "KMS-Hostschlüssel",
            (Channel::Retail, Language::En) => "a retail key",
            (Channel::Retail, Language::De) => "Einzelhandelsschlüssel",
            (Channel::Oem, Language::En) => "a vendor's key (OEM)",
            (Channel::Oem, Language::De) => "Herstellerschlüssel (OEM)",
            (Channel::Other, Language::En) => "another kind of key",
            (Channel::Other, Language::De) => "andere Schlüsselart",
        }
    }

    /// From `ProductKeyChannel` (Windows 8 and later), else from the token inside `Description`.
    pub fn of(key_channel: Option<&str>, description: Option<&str>) -> Option<Self> {
        if let Some(channel) = key_channel.filter(|text| !text.is_empty()) {
            let channel = channel.to_ascii_uppercase();
            return Some(match channel.as_str() {
                "VOLUME:MAK" => Channel::Mak,
                "VOLUME:GVLK" => Channel::KmsClient,
                "VOLUME:CSVLK" => Channel::KmsHost,
                "RETAIL" => Channel::Retail,
                other if other.starts_with("OEM:") => Channel::Oem,
                _ => Channel::Other,
            });
        }
        let description = description?.to_ascii_uppercase();
        let has = |token: &str| description.contains(token);
        Some(if has("VOLUME_KMSCLIENT") {
            Channel::KmsClient
        } else if has("VOLUME_KMS") {
            Channel::KmsHost
        } else if has("VOLUME_MAK") {
            Channel::Mak
        } else if has("RETAIL") {
            Channel::Retail
        } else if has("OEM_") {
            Channel::Oem
        } else {
            Channel::Other
        })
    }
}

/// One `SoftwareLicensingProduct`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// `ID`: the activation ID, a GUID.
    pub id: String,
    /// `Name`.
    pub name: Option<String>,
    /// `Description`, which holds the channel's token.
    pub description: Option<String>,
    /// `ApplicationID`.
    pub application_id: Option<String>,
    /// `LicenseFamily`: the edition.
    pub family: Option<String>,
    /// `LicenseIsAddon`: an addition such as extended security updates.
    pub addon: Option<bool>,
    /// `PartialProductKey`: the last five characters; `None` without a key.
    pub partial_key: Option<String>,
    /// `ProductKeyChannel`, on Windows 8 and later.
    pub key_channel: Option<String>,
    /// `LicenseStatus`.
    pub status: Option<LicenseStatus>,
    /// `LicenseStatusReason`.
    pub reason: Option<Code>,
    /// `GracePeriodRemaining` in minutes; 0 when licensed means for good.
    pub grace_minutes: Option<u32>,
    /// `OfflineInstallationId`.
    pub installation_id: Option<InstallationId>,
    /// `KeyManagementServiceMachine`: the KMS host that was set by hand.
    pub kms_host: Option<String>,
    /// `KeyManagementServicePort`: its port.
    pub kms_port: Option<u16>,
    /// `DiscoveredKeyManagementServiceMachineName`: the KMS host that DNS named.
    pub discovered_kms_host: Option<String>,
    /// `IsKeyManagementServiceMachine`: this PC is a KMS host.
    pub is_kms_host: Option<bool>,
    /// `KeyManagementServiceCurrentCount`, on a KMS host only; WMI's -1 is `None`.
    pub kms_count: Option<u32>,
    /// `ProductKeyID`: the extended product ID, which changes each time that the key is installed.
    pub product_key_id: Option<String>,
    /// `LicenseDependsOn`: the product without which this one cannot be activated.
    pub depends_on: Option<String>,
    /// `EvaluationEndDate` of a time-limited product.
    pub evaluation_end: Option<Timestamp>,
    /// `VLActivationInterval` in minutes: how often an unactivated KMS client asks.
    pub vl_activation_interval: Option<u32>,
    /// `VLRenewalInterval` in minutes: how often an activated KMS client asks.
    pub vl_renewal_interval: Option<u32>,
    /// `VLActivationType`, on Windows 8 and later: how it was activated.
    pub vl_activation_type: Option<VlActivationType>,
    /// `VLActivationTypeEnabled`, on Windows 8 and later: how it may be activated.
    pub vl_activation_type_enabled: Option<VlActivationType>,
    /// `ADActivationObjectName`, on Windows 8 and later: the object in Active Directory that activated it.
    pub ad_activation_object: Option<String>,
    /// `RemainingSkuReArmCount`, on Windows 8 and later.
    pub remaining_sku_rearms: Option<u32>,
    /// `RemainingAppReArmCount`, on Windows 8 and later.
    pub remaining_app_rearms: Option<u32>,
}

impl Product {
    /// Whether it is Windows itself: no addition, no Office.
    pub fn is_windows(&self) -> bool {
        let application = self.application_id.as_deref().unwrap_or(WINDOWS_APPLICATION);
        application.eq_ignore_ascii_case(WINDOWS_APPLICATION) && self.addon != Some(true)
    }

    /// Whether it is Office.
    pub fn is_office(&self) -> bool {
        self.application_id.as_deref().is_some_and(|application| {
            [OFFICE_APPLICATION, OFFICE_2010_APPLICATION].iter().any(|office| application.eq_ignore_ascii_case(office))
        })
    }

    /// How its key is activated.
    pub fn channel(&self) -> Option<Channel> {
        if self.is_kms_host == Some(true) {
            return Some(Channel::KmsHost);
        }
        Channel::of(self.key_channel.as_deref(), self.description.as_deref())
    }

    /// What a confirmation ID for it belongs to; `None` without a key.
    pub fn product_ref(&self) -> Option<ProductRef> {
        let partial_key = self.partial_key.as_deref()?.to_ascii_uppercase();
        Some(ProductRef { activation_id: self.id.to_ascii_lowercase(), partial_key })
    }

    /// Whether it is activated for good.
    pub fn is_permanent(&self) -> bool {
        self.status == Some(LicenseStatus::Licensed) && self.grace_minutes.unwrap_or(0) == 0
    }
}

/// `SoftwareLicensingService`, of which there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `Version`.
    pub version: Option<String>,
    /// `ClientMachineID`: what KMS hosts count.
    pub client_machine_id: Option<String>,
    /// `RemainingWindowsReArmCount`.
    pub rearms_left: Option<u32>,
    /// `KeyManagementServiceMachine`.
    pub kms_host: Option<String>,
    /// `KeyManagementServicePort`.
    pub kms_port: Option<u16>,
    /// `KeyManagementServiceHostCaching`: whether the last good KMS host is asked first.
    pub kms_host_caching: Option<bool>,
    /// Whether the firmware holds a key (`OA3xOriginalProductKey` is not empty), on Windows 8 and later. The key itself
    /// comes from [`LicensingService::firmware_key`](super::LicensingService::firmware_key) only.
    pub firmware_key: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_comes_from_either_property() {
        let of = |description: &str| Channel::of(None, Some(description));
        assert_eq!(of("Windows Operating System - Windows(R) 7, VOLUME_KMSCLIENT channel"), Some(Channel::KmsClient));
        assert_eq!(of("Windows(R) 7, VOLUME_KMS channel"), Some(Channel::KmsHost));
        assert_eq!(of("Windows(R) 7, VOLUME_KMS_R2_C channel"), Some(Channel::KmsHost));
        assert_eq!(of("Windows(R), VOLUME_MAK channel"), Some(Channel::Mak));
        assert_eq!(of("Windows(R), OEM_SLP channel"), Some(Channel::Oem));
        assert_eq!(of("Windows(R), TIMEBASED_EVAL channel"), Some(Channel::Other));
        assert_eq!(Channel::of(Some("Volume:GVLK"), Some("VOLUME_MAK")), Some(Channel::KmsClient));
        assert_eq!(Channel::of(Some("OEM:DM"), None), Some(Channel::Oem));
        assert_eq!(Channel::of(None, None), None);
    }

    #[test]
    fn a_host_by_its_own_word_is_a_host() {
        let product =
            Product { is_kms_host: Some(true), key_channel: Some("Volume:GVLK".into()), ..Product::default() };
        assert_eq!(product.channel(), Some(Channel::KmsHost));
    }

    #[test]
    fn additions_and_office_are_not_windows() {
        assert!(
            Product { application_id: Some(WINDOWS_APPLICATION.to_uppercase()), ..Product::default() }.is_windows()
        );
        assert!(!Product { addon: Some(true), ..Product::default() }.is_windows());
        let office = Some("0ff1ce16-a989-479d-af46-f275c6370663".to_owned());
        let office = Product { application_id: office, ..Product::default() };
        assert!(!office.is_windows() && office.is_office());
    }

    #[test]
    fn numbers_are_those_of_wmi() {
        assert_eq!(LicenseStatus::from_wmi(5), Some(LicenseStatus::Notification));
        assert_eq!(LicenseStatus::from_wmi(7), None);
        for (number, kind) in [(0, "any"), (1, "active-directory"), (2, "kms"), (3, "token")] {
            let found = VlActivationType::from_wmi(number).expect("one of four");
            assert_eq!(serde_json::to_string(&found).expect("a string"), format!("\"{kind}\""));
            assert_eq!(found.to_wmi(), number);
        }
        assert_eq!(VlActivationType::from_wmi(4), None);
    }
}
