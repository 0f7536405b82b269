//! Windows' licensing service as a trait, shaped like the WMI classes `SoftwareLicensingProduct` and
//! `SoftwareLicensingService` (namespace `root\cimv2`, Windows 7 and later).
//!
//! What a Windows version does not have is `None`, never an error. Texts of Windows are localised and are never matched;
//! the channel token inside `Description` is not localised.

use serde::{Deserialize, Serialize};

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationId, InstallationId};
use crate::activation::key::ProductKey;

mod product;
mod wmi;

pub use product::{
    Channel, LicenseStatus, OFFICE_2010_APPLICATION, OFFICE_APPLICATION, Product, Service, VlActivationType,
    WINDOWS_APPLICATION,
};
pub use wmi::{Properties, PropertyError};

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
    /// [`LicensingService::set_vl_activation_type`]
    SetVlActivationType,
    /// [`LicensingService::clear_vl_activation_type`]
    ClearVlActivationType,
    /// [`LicensingService::clear_product_key_from_registry`]
    ClearProductKeyFromRegistry,
    /// [`LicensingService::firmware_key`]
    FirmwareKey,
}

impl LicensingCall {
    /// All of them.
    pub const ALL: [LicensingCall; 14] = [
        LicensingCall::Products,
        LicensingCall::Service,
        LicensingCall::InstallProductKey,
        LicensingCall::UninstallProductKey,
        LicensingCall::Activate,
        LicensingCall::DepositOfflineConfirmationId,
        LicensingCall::SetKms,
        LicensingCall::ClearKms,
        LicensingCall::RefreshLicenseStatus,
        LicensingCall::RearmWindows,
        LicensingCall::SetVlActivationType,
        LicensingCall::ClearVlActivationType,
        LicensingCall::ClearProductKeyFromRegistry,
        LicensingCall::FirmwareKey,
    ];

    /// Whether it only reads.
    pub fn reads(self) -> bool {
        matches!(self, LicensingCall::Products | LicensingCall::Service | LicensingCall::FirmwareKey)
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
            LicensingCall::SetVlActivationType => "set-vl-activation-type",
            LicensingCall::ClearVlActivationType => "clear-vl-activation-type",
            LicensingCall::ClearProductKeyFromRegistry => "clear-product-key-from-registry",
            LicensingCall::FirmwareKey => "firmware-key",
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

/// `WBEM_E_INVALID_METHOD`: WMI's answer to a method that this Windows does not have.
pub const NO_SUCH_METHOD: Code = Code(0x8004_102E);

/// Windows' licensing service. Every method fails with [`LicensingError::Failed`] and Windows' code.
pub trait LicensingService {
    /// The products, with their state as it is now: Windows, Office, additions such as extended security updates.
    fn products(&mut self, scope: ProductScope) -> Result<Vec<Product>, LicensingError>;

    /// The service's own properties.
    fn service(&mut self) -> Result<Service, LicensingError>;

    /// `InstallProductKey`: the key itself decides which product gets it; it replaces that product's key without asking
    /// and leaves the other products alone.
    fn install_product_key(&mut self, key: &ProductKey) -> Result<(), LicensingError>;

    /// `UninstallProductKey` of the product with this activation ID.
    fn uninstall_product_key(&mut self, product: &str) -> Result<(), LicensingError>;

    /// `Activate` of the product with this activation ID: online for a MAK, which counts; a KMS client key is activated by
    /// Active Directory where that is possible and allowed, else at the KMS host.
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

    /// `SetVLActivationTypeEnabled` of one product, or of the service for all, on Windows 8 and later. A service without
    /// it answers [`NO_SUCH_METHOD`].
    fn set_vl_activation_type(
        &mut self,
        _product: Option<&str>,
        _kind: VlActivationType,
    ) -> Result<(), LicensingError> {
        Err(LicensingError::Failed { call: LicensingCall::SetVlActivationType, code: NO_SUCH_METHOD })
    }

    /// `ClearVLActivationTypeEnabled` of one product, or of the service for all: back to [`VlActivationType::Any`].
    fn clear_vl_activation_type(&mut self, _product: Option<&str>) -> Result<(), LicensingError> {
        Err(LicensingError::Failed { call: LicensingCall::ClearVlActivationType, code: NO_SUCH_METHOD })
    }

    /// `ClearProductKeyFromRegistry`: a retail key stays readable in the registry until then.
    fn clear_product_key_from_registry(&mut self) -> Result<(), LicensingError> {
        Err(LicensingError::Failed { call: LicensingCall::ClearProductKeyFromRegistry, code: NO_SUCH_METHOD })
    }

    /// `OA3xOriginalProductKey`: the key in the firmware's MSDM table, on Windows 8 and later; `None` without one.
    fn firmware_key(&mut self) -> Result<Option<ProductKey>, LicensingError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_serde_writes() {
        for call in LicensingCall::ALL {
            assert_eq!(serde_json::to_string(&call).expect("a string"), format!("\"{}\"", call.name()));
        }
    }
}
