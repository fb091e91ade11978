//! A LIST as the API server answers it, whatever it is a list of.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Each item becomes what `I` keeps of it as soon as it is parsed, so that only one is ever held whole. `K` has the one
/// name that `kind` may have.
#[derive(Deserialize)]
pub(super) struct List<K, I> {
    #[serde(rename = "kind")]
    _kind: K,
    metadata: Metadata,
    // A list without this field is no list; one without items has it empty or null.
    #[serde(
        deserialize_with = "Option::deserialize",
        bound = "I: Deserialize<'de>"
    )]
    items: Option<Vec<I>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

impl<K, I> List<K, I> {
    /// The items, and the version of the whole.
    pub(super) fn into_parts(self) -> (Vec<I>, String) {
        (
            self.items.unwrap_or_default(),
            self.metadata.resource_version,
        )
    }
}

/// An item that hides no other: one that cannot be read is none.
#[derive(Deserialize)]
#[serde(from = "Value", bound = "T: DeserializeOwned")]
pub(super) struct Readable<T>(pub(super) Option<T>);

impl<T: DeserializeOwned> From<Value> for Readable<T> {
    fn from(item: Value) -> Self {
        Self(serde_json::from_value(item).ok())
    }
}
