//! Windows' licensing service as a trait, shaped like the WMI classes `SoftwareLicensingProduct` and
//! `SoftwareLicensingService` (namespace `root\cimv2`, Windows 7 and later).
//!
//! What a Windows version does not have is `None`, never an error. Texts of Windows are localised and are never matched;
//! the channel token inside `Description` is not localised.

use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationId, InstallationId, ProductRef};
use crate::activation::key::ProductKey;
use crate::room::Language;

/// `ApplicationID` of Windows itself.
pub const WINDOWS_APPLICATION: &str = "55c92734-d682-4d71-983e-d6ec3f16059f";

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
    /// `IsKeyManagementServiceMachine`: this PC is a KMS host.
    pub is_kms_host: Option<bool>,
}

impl Product {
    /// Whether it is Windows itself: no addition, no Office.
    pub fn is_windows(&self) -> bool {
        let application = self.application_id.as_deref().unwrap_or(WINDOWS_APPLICATION);
        application.eq_ignore_ascii_case(WINDOWS_APPLICATION) && self.addon != Some(true)
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
}

/// Which products a query returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductScope {
    /// Those with a key. The usual one: a client lists hundreds without, and answers slowly.
    WithKey,
    /// All.
    All,
}

/// Every call of the trait, so that a preview can list them and a recorder can keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicensingCall {
    /// [`LicensingService::products`]
    Products,
    /// [`LicensingService::service`]
    Service,
    /// [`LicensingService::install_product_key`]
    InstallProductKey,
    /// [`LicensingService::uninstall_product_key`]
    UninstallProductKey,
    /// [`LicensingService::activate`]
    Activate,
    /// [`LicensingService::deposit_offline_confirmation_id`]
    DepositOfflineConfirmationId,
    /// [`LicensingService::set_kms`]
    SetKms,
    /// [`LicensingService::clear_kms`]
    ClearKms,
    /// [`LicensingService::refresh_license_status`]
    RefreshLicenseStatus,
    /// [`LicensingService::rearm_windows`]
    RearmWindows,
}

impl LicensingCall {
    /// Whether it only reads.
    pub fn reads(self) -> bool {
        matches!(self, LicensingCall::Products | LicensingCall::Service)
    }

    /// The name as plans and reports write it.
    pub fn name(self) -> &'static str {
        match self {
            LicensingCall::Products => "products",
            LicensingCall::Service => "service",
            LicensingCall::InstallProductKey => "install-product-key",
            LicensingCall::UninstallProductKey => "uninstall-product-key",
            LicensingCall::Activate => "activate",
            LicensingCall::DepositOfflineConfirmationId => "deposit-offline-confirmation-id",
            LicensingCall::SetKms => "set-kms",
            LicensingCall::ClearKms => "clear-kms",
            LicensingCall::RefreshLicenseStatus => "refresh-license-status",
            LicensingCall::RearmWindows => "rearm-windows",
        }
    }
}

/// Why a call did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LicensingError {
    /// Windows answered with a failure code.
    #[error("Windows' licensing service refused {} with {code}", call.name())]
    Failed {
        /// Which call.
        call: LicensingCall,
        /// Windows' code.
        code: Code,
    },
}

impl LicensingError {
    /// Windows' code.
    pub fn code(&self) -> Code {
        let LicensingError::Failed { code, .. } = self;
        *code
    }
}

/// Windows' licensing service. Every method fails with [`LicensingError::Failed`] and Windows' code.
pub trait LicensingService {
    /// The products, with their state as it is now.
    fn products(&mut self, scope: ProductScope) -> Result<Vec<Product>, LicensingError>;

    /// The service's own properties.
    fn service(&mut self) -> Result<Service, LicensingError>;

    /// `InstallProductKey`: replaces an existing key without asking.
    fn install_product_key(&mut self, key: &ProductKey) -> Result<(), LicensingError>;

    /// `UninstallProductKey` of the product with this activation ID.
    fn uninstall_product_key(&mut self, product: &str) -> Result<(), LicensingError>;

    /// `Activate` of the product with this activation ID: online for a MAK, which counts, else at the KMS host.
    fn activate(&mut self, product: &str) -> Result<(), LicensingError>;

    /// `DepositOfflineConfirmationId` of the product with this activation ID. The installation ID is an argument: it may
    /// be an earlier one of the same PC.
    fn deposit_offline_confirmation_id(
        &mut self,
        product: &str,
        iid: &InstallationId,
        cid: &ConfirmationId,
    ) -> Result<(), LicensingError>;

    /// `SetKeyManagementServiceMachine` and `…Port` for all products.
    fn set_kms(&mut self, host: &str, port: u16) -> Result<(), LicensingError>;

    /// `ClearKeyManagementServiceMachine` and `…Port`: back to DNS.
    fn clear_kms(&mut self) -> Result<(), LicensingError>;

    /// `RefreshLicenseStatus`.
    fn refresh_license_status(&mut self) -> Result<(), LicensingError>;

    /// `ReArmWindows`: resets the timers, spends one of the rearms, takes effect after a restart.
    fn rearm_windows(&mut self) -> Result<(), LicensingError>;
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
        assert!(!Product { application_id: office, ..Product::default() }.is_windows());
    }

    #[test]
    fn names_are_what_serde_writes() {
        use LicensingCall::*;
        for call in [
            Products,
            Service,
            InstallProductKey,
            UninstallProductKey,
            Activate,
            DepositOfflineConfirmationId,
            SetKms,
            ClearKms,
            RefreshLicenseStatus,
            RearmWindows,
        ] {
            assert_eq!(serde_json::to_string(&call).expect("a string"), format!("\"{}\"", call.name()));
        }
        assert_eq!(LicenseStatus::from_wmi(5), Some(LicenseStatus::Notification));
        assert_eq!(LicenseStatus::from_wmi(7), None);
    }
}
