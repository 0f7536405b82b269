//! Activation of a cloned Windows, only by the ways that Microsoft provides for.
//!
//! [`key`] product keys, [`confirmation`] installation and confirmation IDs, [`strategy`] what a profile can ask for,
//! [`licensing`] the licensing service as a trait, [`hook`] the loop *detect, act, re-read*, [`preview`] the same
//! decision beforehand, [`exchange`] the table that brings confirmation IDs, [`kms`] what a KMS host's count is and who shares an ID, [`codes`] what Windows' error codes mean. Numbers and sources: Microsoft's volume activation
//! documents, cited where a rule is used.

pub mod codes;
pub mod confirmation;
pub mod exchange;
pub mod hook;
pub mod key;
pub mod kms;
pub mod licensing;
pub mod preview;
pub mod strategy;

pub use key::KeyKind;
pub use strategy::Strategy;
