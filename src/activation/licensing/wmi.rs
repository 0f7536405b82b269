//! From the raw properties of WMI's two licensing classes to [`Product`] and [`Service`].
//!
//! The names are those of the class reference of `SoftwareLicensingProduct` and `SoftwareLicensingService`. A property that
//! a Windows version lacks, or that is null or empty, is `None`; one of another type is an error. 32-bit numbers come
//! signed or unsigned, depending on who read them. No error repeats a text: it could be a key.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::Value;

use crate::activation::codes::Code;
use crate::activation::confirmation::InstallationId;
use crate::activation::key::ProductKey;
use crate::activation::licensing::{LicenseStatus, Product, Service, VlActivationType};

/// The properties of one WMI object by name.
pub type Properties = serde_json::Map<String, Value>;

/// Why WMI's properties cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// A property of another type than documented.
    #[error("the WMI property {name} should be {expected} and is {found}")]
    WrongType {
        /// The property.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A number that the property cannot have.
    #[error("the WMI property {name} holds {value}, which is out of its range")]
    OutOfRange {
        /// The property.
        name: &'static str,
        /// The number.
        value: i64,
    },
    /// A text of another form than documented. The text is not repeated.
    #[error("the WMI property {name} holds a text that is not {expected}")]
    Malformed {
        /// The property.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A product without an activation ID.
    #[error("WMI gave a product without the property ID")]
    NoId,
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A property that is there and not null.
fn present<'a>(from: &'a Properties, name: &str) -> Option<&'a Value> {
    from.get(name).filter(|value| !value.is_null())
}

fn text(from: &Properties, name: &'static str) -> Result<Option<String>, PropertyError> {
    match present(from, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)),
        Some(other) => Err(PropertyError::WrongType { name, expected: "a text", found: kind(other) }),
    }
}

/// A 32-bit number, whichever way its sign was read.
fn bits(from: &Properties, name: &'static str) -> Result<Option<u32>, PropertyError> {
    let Some(value) = present(from, name) else { return Ok(None) };
    let wrong = PropertyError::WrongType { name, expected: "a whole number", found: kind(value) };
    let value = value.as_i64().ok_or(wrong)?;
    let signed = i32::try_from(value).map(i32::cast_unsigned);
    u32::try_from(value).or(signed).map(Some).map_err(|_| PropertyError::OutOfRange { name, value })
}

/// A number that counts something: WMI's -1 means that there is nothing to count.
fn count(from: &Properties, name: &'static str) -> Result<Option<u32>, PropertyError> {
    Ok(bits(from, name)?.filter(|value| *value != u32::MAX))
}

fn port(from: &Properties, name: &'static str) -> Result<Option<u16>, PropertyError> {
    let Some(value) = bits(from, name)?.filter(|port| *port != 0) else { return Ok(None) };
    u16::try_from(value).map(Some).map_err(|_| PropertyError::OutOfRange { name, value: i64::from(value) })
}

/// A truth value, or the number 0 or 1 that some versions give for one.
fn flag(from: &Properties, name: &'static str) -> Result<Option<bool>, PropertyError> {
    match present(from, name) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(Value::Number(_)) => match bits(from, name)? {
            Some(value @ 2..) => Err(PropertyError::OutOfRange { name, value: i64::from(value) }),
            other => Ok(other.map(|value| value == 1)),
        },
        Some(other) => Err(PropertyError::WrongType { name, expected: "a truth value", found: kind(other) }),
    }
}

/// One of a list of numbered things.
fn numbered<T>(
    from: &Properties,
    name: &'static str,
    of: impl FnOnce(u32) -> Option<T>,
) -> Result<Option<T>, PropertyError> {
    let Some(value) = bits(from, name)? else { return Ok(None) };
    of(value).map(Some).ok_or(PropertyError::OutOfRange { name, value: i64::from(value) })
}

/// A `CIM_DATETIME`: `20261010000000.000000+060`, the offset in minutes. The year 1601 means none.
fn time(from: &Properties, name: &'static str) -> Result<Option<Timestamp>, PropertyError> {
    let Some(text) = text(from, name)? else { return Ok(None) };
    let moment = || {
        let local = DateTime::strptime("%Y%m%d%H%M%S", text.get(..14)?).ok()?;
        let (sign, minutes) = (text.get(21..22)?, text.get(22..25)?.parse::<i32>().ok()?);
        let seconds = match sign {
            "+" => minutes * 60,
            "-" => minutes * -60,
            _ => return None,
        };
        Some((local.year(), Offset::from_seconds(seconds).ok()?.to_timestamp(local).ok()?))
    };
    match moment() {
        Some((1601, _)) => Ok(None),
        Some((_, moment)) => Ok(Some(moment)),
        None => Err(PropertyError::Malformed { name, expected: "a date and time of WMI" }),
    }
}

fn installation_id(from: &Properties) -> Result<Option<InstallationId>, PropertyError> {
    const NAME: &str = "OfflineInstallationId";
    let Some(text) = text(from, NAME)? else { return Ok(None) };
    InstallationId::parse(&text)
        .map(Some)
        .map_err(|_| PropertyError::Malformed { name: NAME, expected: "an installation ID of 54 or 63 digits" })
}

impl Product {
    /// From the properties of a `SoftwareLicensingProduct`.
    pub fn from_wmi(from: &Properties) -> Result<Self, PropertyError> {
        Ok(Self {
            id: text(from, "ID")?.ok_or(PropertyError::NoId)?,
            name: text(from, "Name")?,
            description: text(from, "Description")?,
            application_id: text(from, "ApplicationID")?,
            family: text(from, "LicenseFamily")?,
            addon: flag(from, "LicenseIsAddon")?,
            partial_key: text(from, "PartialProductKey")?,
            key_channel: text(from, "ProductKeyChannel")?,
            status: numbered(from, "LicenseStatus", LicenseStatus::from_wmi)?,
            reason: bits(from, "LicenseStatusReason")?.map(Code),
            grace_minutes: bits(from, "GracePeriodRemaining")?,
            installation_id: installation_id(from)?,
            kms_host: text(from, "KeyManagementServiceMachine")?,
            kms_port: port(from, "KeyManagementServicePort")?,
            discovered_kms_host: text(from, "DiscoveredKeyManagementServiceMachineName")?,
            is_kms_host: flag(from, "IsKeyManagementServiceMachine")?,
            kms_count: count(from, "KeyManagementServiceCurrentCount")?,
            product_key_id: text(from, "ProductKeyID")?,
            depends_on: text(from, "LicenseDependsOn")?,
            evaluation_end: time(from, "EvaluationEndDate")?,
            vl_activation_interval: bits(from, "VLActivationInterval")?,
            vl_renewal_interval: bits(from, "VLRenewalInterval")?,
            // 0 is what products have that were not activated by volume.
            vl_activation_type: numbered(from, "VLActivationType", VlActivationType::from_wmi)?
                .filter(|kind| *kind != VlActivationType::Any),
            vl_activation_type_enabled: numbered(from, "VLActivationTypeEnabled", VlActivationType::from_wmi)?,
            ad_activation_object: text(from, "ADActivationObjectName")?,
            remaining_sku_rearms: count(from, "RemainingSkuReArmCount")?,
            remaining_app_rearms: count(from, "RemainingAppReArmCount")?,
        })
    }
}

impl Service {
    /// From the properties of the `SoftwareLicensingService`. The firmware's key itself is not in it.
    pub fn from_wmi(from: &Properties) -> Result<Self, PropertyError> {
        // On Windows 8 and later the property is there, and null or empty without a key.
        let firmware_key = from.contains_key(FIRMWARE_KEY).then(|| text(from, FIRMWARE_KEY)).transpose()?;
        Ok(Self {
            version: text(from, "Version")?,
            client_machine_id: text(from, "ClientMachineID")?,
            rearms_left: count(from, "RemainingWindowsReArmCount")?,
            kms_host: text(from, "KeyManagementServiceMachine")?,
            kms_port: port(from, "KeyManagementServicePort")?,
            kms_host_caching: flag(from, "KeyManagementServiceHostCaching")?,
            firmware_key: firmware_key.map(|key| key.is_some()),
        })
    }

    /// The firmware's key, from the same properties.
    pub fn firmware_key_from_wmi(from: &Properties) -> Result<Option<ProductKey>, PropertyError> {
        let Some(text) = text(from, FIRMWARE_KEY)?.map(zeroize::Zeroizing::new) else { return Ok(None) };
        let malformed = PropertyError::Malformed { name: FIRMWARE_KEY, expected: "a product key" };
        ProductKey::parse(&text).map(Some).map_err(|_| malformed)
    }
}

const FIRMWARE_KEY: &str = "OA3xOriginalProductKey";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn product(more: Value) -> Result<Product, PropertyError> {
        let Value::Object(mut all) = more else { panic!("an object") };
        all.insert("ID".into(), json!("2de67392-b7a7-462a-b1ca-108dd189f588"));
        Product::from_wmi(&all)
    }

    #[test]
    fn what_is_missing_null_or_empty_is_none() {
        let bare = product(json!({})).expect("an ID is enough");
        let id = "2de67392-b7a7-462a-b1ca-108dd189f588".to_owned();
        assert_eq!(bare, Product { id, ..Product::default() });
        let empty = json!({
            "Name": null, "PartialProductKey": "", "OfflineInstallationId": " ", "KeyManagementServicePort": 0,
            "KeyManagementServiceCurrentCount": -1, "EvaluationEndDate": "16010101000000.000000-000",
            "VLActivationType": 0,
        });
        assert_eq!(product(empty).expect("readable"), bare);
        assert_eq!(Product::from_wmi(&Properties::new()), Err(PropertyError::NoId));
    }

    #[test]
    fn numbers_come_with_either_sign() {
        for reason in [json!(-1_073_418_154), json!(3_221_549_142_u32)] {
            let read = product(json!({ "LicenseStatusReason": reason, "LicenseStatus": 5 })).expect("readable");
            assert_eq!((read.reason, read.status), (Some(Code::NOT_BY_KMS), Some(LicenseStatus::Notification)));
        }
        let read = product(json!({ "KeyManagementServiceCurrentCount": u32::MAX, "IsKeyManagementServiceMachine": 1 }));
        assert_eq!(read.map(|read| (read.kms_count, read.is_kms_host)), Ok((None, Some(true))));
    }

    #[test]
    fn a_wrong_type_is_an_error_that_names_the_property_and_not_its_text() {
        let wrong = |more: Value| product(more).expect_err("wrong").to_string();
        assert_eq!(
            wrong(json!({ "LicenseStatus": "Lizenziert" })),
            "the WMI property LicenseStatus should be a whole number and is a text"
        );
        assert_eq!(
            wrong(json!({ "LicenseStatus": 7 })),
            "the WMI property LicenseStatus holds 7, which is out of its range"
        );
        assert_eq!(
            wrong(json!({ "LicenseIsAddon": "False" })),
            "the WMI property LicenseIsAddon should be a truth value and is a text"
        );
        assert_eq!(
            wrong(json!({ "OfflineInstallationId": "12345" })),
            "the WMI property OfflineInstallationId holds a text that is not an installation ID of 54 or 63 digits"
        );
        for more in [
            json!({ "Name": 1 }),
            json!({ "GracePeriodRemaining": 1.5 }),
            json!({ "GracePeriodRemaining": 5_000_000_000_u64 }),
            json!({ "KeyManagementServicePort": 70_000 }),
            json!({ "LicenseIsAddon": 2 }),
            json!({ "EvaluationEndDate": "tomorrow" }),
            json!({ "EvaluationEndDate": "20261331000000.000000+060" }),
            json!({ "VLActivationType": 9 }),
            json!({ "PartialProductKey": ["T83GX"] }),
        ] {
            assert!(!wrong(more).contains("T83GX"));
        }
    }

    #[test]
    fn a_firmware_key_is_told_and_handed_out_apart() {
        let service = |value: Value| Service::from_wmi(value.as_object().expect("an object"));
        let held = |value: Value| service(value).expect("readable").firmware_key;
        assert_eq!(held(json!({})), None);
        assert_eq!(held(json!({ "OA3xOriginalProductKey": null })), Some(false));
        assert_eq!(held(json!({ "OA3xOriginalProductKey": "" })), Some(false));
        let with = json!({ "OA3xOriginalProductKey": "BBBBB-CCCCC-DDDDD-FFFFF-8JPRT" });
        assert_eq!(held(with.clone()), Some(true));
        assert!(!format!("{:?}", service(with.clone())).contains("BBBBB"));
        let key = Service::firmware_key_from_wmi(with.as_object().expect("an object")).expect("a key");
        assert_eq!(key.map(|key| key.partial().to_owned()).as_deref(), Some("8JPRT"));
        let broken = json!({ "OA3xOriginalProductKey": "BBBBB-CCCCC" });
        let error = Service::firmware_key_from_wmi(broken.as_object().expect("an object")).expect_err("too short");
        assert!(!error.to_string().contains("BBBBB"));
    }

    #[test]
    fn a_date_of_wmi_is_a_moment() {
        let end =
            product(json!({ "EvaluationEndDate": "20261010013000.000000+120" })).expect("readable").evaluation_end;
        assert_eq!(end, Some("2026-10-09T23:30:00Z".parse().expect("a time")));
    }

    proptest! {
        #[test]
        fn no_properties_panic(name in 0usize..6, text in ".{0,30}", number: i64) {
            let names = ["LicenseStatus", "EvaluationEndDate", "LicenseIsAddon", "OfflineInstallationId", "ID", "Name"];
            for value in [json!(text), json!(number)] {
                let one = Properties::from_iter([("ID".to_owned(), json!("x")), (names[name].to_owned(), value)]);
                let _ = (Product::from_wmi(&one), Service::from_wmi(&one));
            }
        }
    }
}
