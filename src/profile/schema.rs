//! The JSON Schemas of `site.yaml` and `rooms/*.yaml`, for editors: completion, descriptions, red lines while one types.
//!
//! `profiles/schema/` has them as files; a profile names its schema in its first line:
//! `# yaml-language-server: $schema=schema/site.json`.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::wire::{RoomFile, SiteFile};

/// The schema of `site.yaml`.
pub fn site() -> Value {
    titled(of::<SiteFile>(), "Klonwerk: site.yaml")
}

/// The schema of a file in `rooms/`.
pub fn room() -> Value {
    titled(of::<RoomFile>(), "Klonwerk: rooms/*.yaml")
}

/// Both by the names of their files in `profiles/schema/`.
pub fn schema() -> Value {
    json!({ "site.json": site(), "room.json": room() })
}

fn of<T: JsonSchema>() -> Schema {
    // Editors know draft 7 best.
    SchemaSettings::draft07().into_generator().into_root_schema_for::<T>()
}

fn titled(mut schema: Schema, title: &str) -> Value {
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}
