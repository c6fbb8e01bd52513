//! The JSON Schemas that `docs/schemas/` publishes, made from the types that write the documents.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::channel::Channel;
use super::document::Statement;
use super::release::Release;
use super::report::Report;
use super::scan::gate;
use super::seal::Bundle;
use super::trust::Trust;

/// A schema and the name of its file.
#[derive(Debug)]
pub struct Published {
    /// File name, which is the last part of the schema's `$id` too.
    pub file: &'static str,
    /// The schema, in the dialect of 2020-12.
    pub schema: Value,
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Published> {
    vec![
        published::<Bundle>("bundle.json", "A seal: a Sigstore bundle v0.3 with one signature"),
        published::<Statement<Trust>>("trust.v1.json", "The statement in a sealed trust document"),
        published::<Statement<Channel>>("channel.v1.json", "The statement in a sealed channel"),
        published::<Statement<Release>>("release.v1.json", "The statement in a sealed release"),
        published::<Report>("verify.json", "What `imgforge verify --json` prints"),
        published::<gate::Report>("scan.json", "What `imgforge scan --json` prints when it got to the end"),
    ]
}

/// As the type is written: what is always there is required, even if it may be `null`.
fn published<T: JsonSchema>(file: &'static str, title: &str) -> Published {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), format!("https://imgforge.dev/schemas/{file}").into());
    schema.insert("title".to_owned(), title.into());
    Published { file, schema: schema.to_value() }
}
