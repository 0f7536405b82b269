//! A licensing service that plays a record: the properties of a PC's WMI objects, and what its service answers to acts.
//!
//! Reads answer from the record. An act answers what the record's script says, once for each line of it and in order, and
//! changes the properties that the line names; an act that the script does not foresee is refused with `E_NOTIMPL`.
//! `RefreshLicenseStatus` needs no line: it changes nothing.
//!
//! A record says where it is from. Those beside the tests are synthetic: made from the documented property lists of each
//! Windows version, not read from a real Windows.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationId, InstallationId};
use crate::activation::key::ProductKey;
use crate::activation::licensing::{
    LicensingCall, LicensingError, LicensingService, Product, ProductScope, Properties, PropertyError, Service,
    VlActivationType,
};

/// `E_NOTIMPL`: the record says nothing of this act.
pub const NOT_IN_RECORD: Code = Code(0x8000_4001);

/// Where a record is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordOrigin {
    /// Made from documented property lists.
    Synthetic,
    /// Read from a real Windows.
    Recorded,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    about: String,
    origin: RecordOrigin,
    build: u32,
    service: Properties,
    products: Vec<Properties>,
    #[serde(default)]
    acts: VecDeque<Act>,
}

/// One line of the script.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    call: LicensingCall,
    /// The product's activation ID, or the last five characters of the key to install.
    #[serde(default)]
    of: Option<String>,
    /// What the service answers; success if left out.
    #[serde(default)]
    code: Option<Code>,
    /// The properties that change, by activation ID.
    #[serde(default)]
    then: BTreeMap<String, Properties>,
}

/// Why a record cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is no record.
    #[error("the record is not in the form that is played")]
    Form(#[source] serde_json::Error),
    /// A property cannot be understood.
    #[error("the record's product number {number} cannot be understood")]
    Product {
        /// Which, from 1.
        number: usize,
        /// Why.
        #[source]
        source: PropertyError,
    },
    /// A property of the service cannot be understood.
    #[error("the record's service cannot be understood")]
    Service(#[source] PropertyError),
    /// A line of the script changes a product that is not there.
    #[error("the script of the record changes the product {id}, which is not in it")]
    NoSuchProduct {
        /// Its activation ID.
        id: String,
    },
}

/// A licensing service that plays a record.
#[derive(Clone)]
pub struct Replay {
    record: Record,
    products: Vec<Product>,
    service: Service,
    calls: Vec<LicensingCall>,
}

impl std::fmt::Debug for Replay {
    /// Without the raw properties: a firmware key may be among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("about", &self.record.about).field("calls", &self.calls).finish_non_exhaustive()
    }
}

fn read(products: &[Properties]) -> Result<Vec<Product>, ReplayError> {
    let numbered = (1..).zip(products);
    numbered
        .map(|(number, raw)| Product::from_wmi(raw).map_err(|source| ReplayError::Product { number, source }))
        .collect()
}

fn is(product: &Properties, id: &str) -> bool {
    product.get("ID").and_then(serde_json::Value::as_str).is_some_and(|own| own.eq_ignore_ascii_case(id))
}

impl Record {
    /// Applies a line of the script.
    fn apply(&mut self, act: &Act) {
        for (id, changes) in &act.then {
            for product in self.products.iter_mut().filter(|product| is(product, id)) {
                product.extend(changes.clone());
            }
        }
    }
}

impl Replay {
    /// Reads a record. Everything in it is looked at, the end of its script included.
    pub fn from_json(text: &str) -> Result<Self, ReplayError> {
        let record: Record = serde_json::from_str(text).map_err(ReplayError::Form)?;
        let service = Service::from_wmi(&record.service).map_err(ReplayError::Service)?;
        Service::firmware_key_from_wmi(&record.service).map_err(ReplayError::Service)?;
        let products = read(&record.products)?;
        let mut played = record.clone();
        for act in &record.acts {
            if let Some(id) = act.then.keys().find(|id| !record.products.iter().any(|product| is(product, id))) {
                return Err(ReplayError::NoSuchProduct { id: id.clone() });
            }
            played.apply(act);
            read(&played.products)?;
        }
        Ok(Self { record, products, service, calls: Vec::new() })
    }

    /// What the record shows.
    pub fn about(&self) -> &str {
        &self.record.about
    }

    /// Where it is from.
    pub fn origin(&self) -> RecordOrigin {
        self.record.origin
    }

    /// The build of its Windows.
    pub fn build(&self) -> u32 {
        self.record.build
    }

    /// The calls made so far, in order.
    pub fn calls(&self) -> &[LicensingCall] {
        &self.calls
    }

    /// How many lines of the script are left.
    pub fn acts_left(&self) -> usize {
        self.record.acts.len()
    }

    fn act(&mut self, call: LicensingCall, of: Option<&str>) -> Result<(), LicensingError> {
        self.calls.push(call);
        let meant = |act: &Act| match (&act.of, of) {
            (Some(meant), Some(of)) => meant.eq_ignore_ascii_case(of),
            (None, _) => true,
            (Some(_), None) => false,
        };
        let found = self.record.acts.iter().position(|act| act.call == call && meant(act));
        let failed = |code| LicensingError::Failed { call, code };
        let Some(act) = found.and_then(|at| self.record.acts.remove(at)) else { return Err(failed(NOT_IN_RECORD)) };
        self.record.apply(&act);
        // The record was read to its end when it was opened, but its lines may be played in another order.
        self.products = read(&self.record.products).map_err(|_| failed(Code::UNSPECIFIED))?;
        match act.code {
            Some(code) if code != Code::OK => Err(failed(code)),
            _ => Ok(()),
        }
    }
}

impl LicensingService for Replay {
    fn products(&mut self, scope: ProductScope) -> Result<Vec<Product>, LicensingError> {
        self.calls.push(LicensingCall::Products);
        let all = self.products.iter();
        Ok(all.filter(|product| scope == ProductScope::All || product.partial_key.is_some()).cloned().collect())
    }

    fn service(&mut self) -> Result<Service, LicensingError> {
        self.calls.push(LicensingCall::Service);
        Ok(self.service.clone())
    }

    fn install_product_key(&mut self, key: &ProductKey) -> Result<(), LicensingError> {
        self.act(LicensingCall::InstallProductKey, Some(key.partial()))
    }

    fn uninstall_product_key(&mut self, product: &str) -> Result<(), LicensingError> {
        self.act(LicensingCall::UninstallProductKey, Some(product))
    }

    fn activate(&mut self, product: &str) -> Result<(), LicensingError> {
        self.act(LicensingCall::Activate, Some(product))
    }

    fn deposit_offline_confirmation_id(
        &mut self,
        product: &str,
        _iid: &InstallationId,
        _cid: &ConfirmationId,
    ) -> Result<(), LicensingError> {
        self.act(LicensingCall::DepositOfflineConfirmationId, Some(product))
    }

    fn set_kms(&mut self, _host: &str, _port: u16) -> Result<(), LicensingError> {
        self.act(LicensingCall::SetKms, None)
    }

    fn clear_kms(&mut self) -> Result<(), LicensingError> {
        self.act(LicensingCall::ClearKms, None)
    }

    fn refresh_license_status(&mut self) -> Result<(), LicensingError> {
        self.calls.push(LicensingCall::RefreshLicenseStatus);
        Ok(())
    }

    fn rearm_windows(&mut self) -> Result<(), LicensingError> {
        self.act(LicensingCall::RearmWindows, None)
    }

    fn set_vl_activation_type(&mut self, product: Option<&str>, _kind: VlActivationType) -> Result<(), LicensingError> {
        self.act(LicensingCall::SetVlActivationType, product)
    }

    fn clear_vl_activation_type(&mut self, product: Option<&str>) -> Result<(), LicensingError> {
        self.act(LicensingCall::ClearVlActivationType, product)
    }

    fn clear_product_key_from_registry(&mut self) -> Result<(), LicensingError> {
        self.act(LicensingCall::ClearProductKeyFromRegistry, None)
    }

    fn firmware_key(&mut self) -> Result<Option<ProductKey>, LicensingError> {
        self.calls.push(LicensingCall::FirmwareKey);
        let failed = LicensingError::Failed { call: LicensingCall::FirmwareKey, code: Code::UNSPECIFIED };
        Service::firmware_key_from_wmi(&self.record.service).map_err(|_| failed)
    }
}
