//! The face of a simulated PC's licensing service.

use crate::activation::codes::Code;
use crate::activation::confirmation::{ConfirmationId, InstallationId};
use crate::activation::key::ProductKey;
use crate::activation::licensing::{
    Channel, LicenseStatus, LicensingCall, LicensingError, LicensingService, NO_SUCH_METHOD, Product, ProductScope,
    Service, VlActivationType,
};
use crate::sim::licensing::digits::{extended_product_id, guid};
use crate::sim::licensing::world::Origin;
use crate::sim::licensing::{
    KMS_RENEWAL, KMS_RETRY, Licence, SimLicensing, SimProduct, WINDOWS_8_1, WINDOWS_10, WorldDeed,
};

/// The names of a channel: `ProductKeyChannel`, and the token inside `Description`.
fn channel_names(channel: Channel, seven: bool) -> (&'static str, &'static str) {
    match channel {
        Channel::Mak => ("Volume:MAK", "VOLUME_MAK"),
        Channel::KmsClient => ("Volume:GVLK", "VOLUME_KMSCLIENT"),
        Channel::KmsHost => ("Volume:CSVLK", "VOLUME_KMS"),
        Channel::Retail => ("Retail", "RETAIL"),
        Channel::Oem if seven => ("OEM:SLP", "OEM_SLP"),
        Channel::Oem => ("OEM:DM", "OEM_DM"),
        Channel::Other => ("Other", "TIMEBASED_EVAL"),
    }
}

impl SimLicensing {
    /// Begins a call: what Windows did by itself until now comes first.
    fn begin(&mut self, call: LicensingCall) {
        self.settle();
        self.calls.push(call);
    }

    /// Ends a call that is no mere read: the log gets it with the product as it was before.
    fn end<T>(
        &self,
        call: LicensingCall,
        product: Option<(String, String)>,
        done: Result<T, Code>,
    ) -> Result<T, LicensingError> {
        let named = product.as_ref().map(|(id, partial)| (id.as_str(), partial.as_str()));
        let code = done.as_ref().err().copied().unwrap_or(Code::OK);
        self.world.note(&self.hardware, named, WorldDeed::Called { call }, code);
        done.map_err(|code| LicensingError::Failed { call, code })
    }

    /// Activation ID and partial key, for the log.
    fn named(&self, id: &str) -> Option<(String, String)> {
        let (product, key) = self.find(id).ok()?;
        Some((self.state.activation_id(product, key.channel), key.partial))
    }

    fn name_of(&self, product: SimProduct) -> String {
        match product {
            SimProduct::Windows => format!("Windows(R), {} edition", self.state.edition),
            SimProduct::Office => "Office 21, Office21ProPlus2021VL edition".to_owned(),
            SimProduct::Esu1 => "Windows(R), Client-ESU-Year1 add-on".to_owned(),
            SimProduct::Esu2 => "Windows(R), Client-ESU-Year2 add-on".to_owned(),
            SimProduct::Esu3 => "Windows(R), Client-ESU-Year3 add-on".to_owned(),
        }
    }

    /// A product without a key, as a query of all products shows it.
    fn keyless(&self, product: SimProduct) -> Product {
        let id = product.documented_id().map_or_else(|| guid(&["keyless", &format!("{product:?}")]), str::to_owned);
        Product {
            id,
            name: Some(self.name_of(product)),
            application_id: Some(product.application().to_owned()),
            addon: Some(product.is_addition()),
            status: Some(LicenseStatus::Unlicensed),
            ..Product::default()
        }
    }

    fn product(&self, product: SimProduct) -> Option<Product> {
        let key = self.state.key_of(product)?;
        let seven = self.state.is_windows_7();
        let (status, reason, grace) = self.state.standing(product, &self.hardware, self.world.now());
        let iid = self.state.installation_id(product, key, &self.hardware);
        let id = self.state.activation_id(product, key.channel);
        if let Some(iid) = &iid {
            self.world.remember(iid, || Origin {
                board: self.hardware.board.clone(),
                extras: self.hardware.extras.clone(),
                partial_key: key.partial.clone(),
                activation_id: id.clone(),
            });
        }
        let (key_channel, token) = channel_names(key.channel, seven);
        let client = key.channel == Channel::KmsClient;
        let licence = self.state.licence_of(product).filter(|_| status == LicenseStatus::Licensed);
        let base = self.state.key.as_ref().filter(|_| product.is_addition());
        let found = matches!(licence, Some(Licence::Volume { .. })) && self.state.kms.is_none();
        Some(Product {
            product_key_id: Some(extended_product_id(
                &id,
                &key.partial,
                self.state.build,
                self.state.since_of(product),
            )),
            id,
            name: Some(self.name_of(product)),
            description: Some(format!("Windows(R) Operating System, {token} channel")),
            application_id: Some(product.application().to_owned()),
            family: Some(if product == SimProduct::Windows { &self.state.edition } else { "Other" }.to_owned()),
            addon: Some(product.is_addition()),
            partial_key: Some(key.partial.clone()),
            key_channel: (!seven).then(|| key_channel.to_owned()),
            status: Some(status),
            reason: Some(reason),
            grace_minutes: Some(grace),
            installation_id: iid,
            kms_host: self.state.kms.as_ref().map(|(host, _)| host.clone()),
            kms_port: self.state.kms.as_ref().map(|(_, port)| *port),
            discovered_kms_host: found.then(|| self.world.kms_in_dns()).flatten().map(|(host, _)| host),
            is_kms_host: Some(key.channel == Channel::KmsHost),
            depends_on: base.map(|key| self.state.activation_id(SimProduct::Windows, key.channel)),
            vl_activation_interval: client.then_some(KMS_RETRY),
            vl_renewal_interval: client.then_some(KMS_RENEWAL),
            vl_activation_type: match licence.filter(|_| !seven) {
                Some(Licence::Volume { .. }) => Some(VlActivationType::Kms),
                Some(Licence::Directory { .. }) => Some(VlActivationType::ActiveDirectory),
                _ => None,
            },
            vl_activation_type_enabled: (!seven).then(|| self.state.vl_type(product)),
            ad_activation_object: match licence {
                Some(Licence::Directory { object, .. }) => Some(object.clone()),
                _ => None,
            },
            remaining_sku_rearms: (!seven).then_some(self.state.rearms_left),
            remaining_app_rearms: (!seven).then_some(self.state.rearms_left),
            ..Product::default()
        })
    }

    fn restrict(&mut self, product: Option<&str>, kind: Option<VlActivationType>) -> Result<(), Code> {
        if self.state.is_windows_7() {
            return Err(NO_SUCH_METHOD);
        }
        let products: Vec<SimProduct> = match product {
            Some(id) => vec![self.find(id)?.0],
            None => self.state.products().collect(),
        };
        for product in products {
            match kind {
                Some(kind) => self.state.vl_types.insert(product, kind),
                None => self.state.vl_types.remove(&product),
            };
        }
        Ok(())
    }
}

impl LicensingService for SimLicensing {
    fn products(&mut self, scope: ProductScope) -> Result<Vec<Product>, LicensingError> {
        self.begin(LicensingCall::Products);
        let mut products: Vec<Product> = self.state.products().filter_map(|product| self.product(product)).collect();
        if scope == ProductScope::All {
            let all = [SimProduct::Windows, SimProduct::Office].into_iter().chain(SimProduct::ADDITIONS);
            products.extend(all.filter(|p| self.state.key_of(*p).is_none()).map(|p| self.keyless(p)));
        }
        Ok(products)
    }

    fn service(&mut self) -> Result<Service, LicensingError> {
        self.begin(LicensingCall::Service);
        let build = self.state.build;
        let version = match build {
            WINDOWS_10.. => format!("10.0.{build}.1"),
            WINDOWS_8_1.. => format!("6.3.{build}.16384"),
            _ if self.state.is_windows_7() => format!("6.1.{build}.17514"),
            _ => format!("6.2.{build}.16384"),
        };
        Ok(Service {
            version: Some(version),
            client_machine_id: Some(self.state.cmid.clone()),
            rearms_left: Some(self.state.rearms_left),
            kms_host: self.state.kms.as_ref().map(|(host, _)| host.clone()),
            kms_port: self.state.kms.as_ref().map(|(_, port)| *port),
            kms_host_caching: Some(true),
            firmware_key: (!self.state.is_windows_7()).then_some(self.hardware.msdm.is_some()),
        })
    }

    fn install_product_key(&mut self, key: &ProductKey) -> Result<(), LicensingError> {
        self.begin(LicensingCall::InstallProductKey);
        let done = self.try_install(key);
        let product = done.ok().and_then(|product| {
            let key = self.state.key_of(product)?;
            Some((self.state.activation_id(product, key.channel), key.partial.clone()))
        });
        self.end(LicensingCall::InstallProductKey, product, done.map(|_| ()))
    }

    fn uninstall_product_key(&mut self, product: &str) -> Result<(), LicensingError> {
        self.begin(LicensingCall::UninstallProductKey);
        let named = self.named(product);
        let found = self.find(product);
        if let Ok((product, _)) = &found
            && let Some(place) = self.state.place(*product)
        {
            *place.key = None;
            *place.licence = Licence::Unactivated;
        }
        self.end(LicensingCall::UninstallProductKey, named, found.map(|_| ()))
    }

    fn activate(&mut self, product: &str) -> Result<(), LicensingError> {
        self.begin(LicensingCall::Activate);
        let named = self.named(product);
        let done = self.try_activate(product);
        self.end(LicensingCall::Activate, named, done)
    }

    fn deposit_offline_confirmation_id(
        &mut self,
        product: &str,
        iid: &InstallationId,
        cid: &ConfirmationId,
    ) -> Result<(), LicensingError> {
        self.begin(LicensingCall::DepositOfflineConfirmationId);
        let named = self.named(product);
        let done = self.try_deposit(product, iid, cid);
        self.end(LicensingCall::DepositOfflineConfirmationId, named, done)
    }

    fn set_kms(&mut self, host: &str, port: u16) -> Result<(), LicensingError> {
        self.begin(LicensingCall::SetKms);
        self.state.kms = Some((host.to_owned(), port));
        self.end(LicensingCall::SetKms, None, Ok(()))
    }

    fn clear_kms(&mut self) -> Result<(), LicensingError> {
        self.begin(LicensingCall::ClearKms);
        self.state.kms = None;
        self.end(LicensingCall::ClearKms, None, Ok(()))
    }

    fn refresh_license_status(&mut self) -> Result<(), LicensingError> {
        self.begin(LicensingCall::RefreshLicenseStatus);
        Ok(())
    }

    fn rearm_windows(&mut self) -> Result<(), LicensingError> {
        self.begin(LicensingCall::RearmWindows);
        let done = self.try_rearm();
        self.end(LicensingCall::RearmWindows, None, done)
    }

    fn set_vl_activation_type(&mut self, product: Option<&str>, kind: VlActivationType) -> Result<(), LicensingError> {
        self.begin(LicensingCall::SetVlActivationType);
        let done = self.restrict(product, Some(kind));
        self.end(LicensingCall::SetVlActivationType, product.and_then(|product| self.named(product)), done)
    }

    fn clear_vl_activation_type(&mut self, product: Option<&str>) -> Result<(), LicensingError> {
        self.begin(LicensingCall::ClearVlActivationType);
        let done = self.restrict(product, None);
        self.end(LicensingCall::ClearVlActivationType, product.and_then(|product| self.named(product)), done)
    }

    fn clear_product_key_from_registry(&mut self) -> Result<(), LicensingError> {
        self.begin(LicensingCall::ClearProductKeyFromRegistry);
        self.state.key_in_registry = false;
        self.end(LicensingCall::ClearProductKeyFromRegistry, None, Ok(()))
    }

    fn firmware_key(&mut self) -> Result<Option<ProductKey>, LicensingError> {
        self.begin(LicensingCall::FirmwareKey);
        Ok(self.hardware.msdm.clone().filter(|_| !self.state.is_windows_7()))
    }
}
