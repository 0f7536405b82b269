//! What the server tells the hook to do.

use serde::{Deserialize, Serialize};

use crate::activation::key::{ReleasedKey, gvlk};
use crate::activation::strategy::Strategy;
use crate::image::{KeyChannel, WindowsFacts};

/// The product key of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedKey {
    /// Its last five characters, by which it is recognised.
    pub partial_key: String,
    /// Its value, for an enrolled PC only. Without it the key must be inside the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_key: Option<ReleasedKey>,
}

/// A strategy with what it needs on the PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum OrderedStrategy {
    /// Touch nothing.
    None,
    /// Report the grace period.
    Grace,
    /// Re-apply the stored confirmation ID.
    MakProxy {
        /// The MAK.
        key: OrderedKey,
    },
    /// Activate at the KMS host.
    Kms {
        /// The host; none lets Windows find it through DNS.
        host: Option<String>,
        /// Its TCP port.
        port: u16,
        /// The setup key to install where the image has no KMS client key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        product_key: Option<ReleasedKey>,
    },
}

/// An order for one PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationOrder {
    /// What to do.
    pub strategy: OrderedStrategy,
    /// The product that is meant, by activation ID; none means Windows itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_id: Option<String>,
    /// Whether activations may be spent. No strategy of this version does: the hook refuses an order that says yes.
    pub may_spend: bool,
}

/// A strategy that needs a product key was ordered without one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the strategy {strategy} needs a product key; name one in the room's profile under activation.key")]
pub struct KeyMissing {
    /// The strategy.
    pub strategy: &'static str,
}

impl ActivationOrder {
    /// The order for a PC with `image` under `strategy`. `key` is the profile's key, for mak-proxy; for kms the published
    /// setup key is added where the image is known to have none and the edition has one.
    pub fn new(strategy: &Strategy, image: &WindowsFacts, key: Option<OrderedKey>) -> Result<Self, KeyMissing> {
        let strategy = match strategy {
            Strategy::None => OrderedStrategy::None,
            Strategy::Grace { .. } => OrderedStrategy::Grace,
            Strategy::MakProxy { .. } => {
                OrderedStrategy::MakProxy { key: key.ok_or(KeyMissing { strategy: strategy.name() })? }
            }
            Strategy::Kms { host, port } => {
                OrderedStrategy::Kms { host: host.clone(), port: *port, product_key: setup_key(image) }
            }
        };
        Ok(Self { strategy, activation_id: None, may_spend: false })
    }
}

fn setup_key(image: &WindowsFacts) -> Option<ReleasedKey> {
    if image.key_channel != Some(KeyChannel::None) {
        return None;
    }
    gvlk(image.edition.as_deref()?, image.build?).map(ReleasedKey)
}
