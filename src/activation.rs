//! Activation of a cloned Windows, only by the ways that Microsoft provides for.
//!
//! [`key`] product keys, [`ledger`] what may be spent with them, [`outlook`] how long they last, [`confirmation`]
//! installation and confirmation IDs, [`strategy`] what a profile can ask for, [`licensing`] the licensing service as a trait,
//! [`hook`] the loop *detect, act, re-read*, [`preview`] the same decision beforehand, [`exchange`] the table that brings
//! confirmation IDs, [`activation_ws`] the server that gets them, [`kms`] what a KMS host counts, [`codes`] what Windows' error
//! codes mean, [`grace_plan`] whether a grace period lasts from clone to clone. [`hardware`] is what a PC's firmware says of it,
//! [`acpi`] reads its licence tables, [`oem`] and [`preactivated`] decide whether an image belongs on it, [`refusal`] keeps it
//! off otherwise. Numbers and sources: Microsoft's volume activation documents, cited where a rule is used.

pub mod acpi;
pub mod activation_ws;
pub mod codes;
pub mod confirmation;
pub mod exchange;
pub mod grace_plan;
pub mod hardware;
pub mod hook;
pub mod key;
pub mod kms;
pub mod ledger;
pub mod licensing;
pub mod oem;
pub mod outlook;
pub mod preactivated;
pub mod preview;
pub mod refusal;
pub mod strategy;

pub use key::KeyKind;
pub use strategy::Strategy;
