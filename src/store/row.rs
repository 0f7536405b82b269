//! Between columns and domain types.

use std::error::Error;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Row, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::seal::Seal;

/// What one transaction has at hand.
pub(super) struct Scope<'a> {
    pub(super) tx: &'a Transaction<'a>,
    pub(super) seal: &'a Seal,
    /// When the transaction began.
    pub(super) now: Timestamp,
}

/// Why a transaction was rolled back: a situation of the store's own, or what the database said.
pub(super) enum Failure {
    Store(StoreError),
    Sql(rusqlite::Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Sql(rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl From<getrandom::Error> for Failure {
    fn from(error: getrandom::Error) -> Self {
        Self::Sql(rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

fn unreadable(column: usize, kind: Type, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}

/// A value in its text form.
pub(super) fn text<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, Type::Text, error))
}

/// The same, where there may be none.
pub(super) fn text_or_none<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let Some(value) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
    value.parse().map(Some).map_err(|error| unreadable(column, Type::Text, error))
}

/// A value as JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| unreadable(column, Type::Text, error))
}

/// The same, where there may be none.
pub(super) fn json_or_none<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let Some(value) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
    serde_json::from_str(value).map(Some).map_err(|error| unreadable(column, Type::Text, error))
}

/// A value as JSON, to be stored.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string(value)?)
}

/// An instant, to the microsecond.
pub(super) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let micros = row.get(column)?;
    Timestamp::from_microsecond(micros).map_err(|error| unreadable(column, Type::Integer, error))
}

/// The same, where there may be none.
pub(super) fn instant_or_none(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let Some(micros) = row.get(column)? else { return Ok(None) };
    Timestamp::from_microsecond(micros).map(Some).map_err(|error| unreadable(column, Type::Integer, error))
}

/// A number that is never negative.
pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|error| unreadable(column, Type::Integer, error))
}

/// A number for a parameter. Numbers beyond the column's range name no row, and the largest of them neither.
pub(super) fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A `LIMIT`.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
