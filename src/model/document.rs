//! What a signed document is: a predicate inside an in-toto statement, about files named by digest.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::image::json;
use super::strict;

/// A document that can be sealed.
pub trait Document: Serialize + DeserializeOwned {
    /// Predicate type: a URI that names meaning and version of the document. It is compared on
    /// reading, so a seal over one kind of document is never taken for one over another.
    const TYPE: &'static str;

    /// What the document is called in messages.
    const NAME: &'static str;

    /// The files that the document speaks for; stock cosign compares them.
    fn subjects(&self) -> Vec<Subject>;

    /// Whether the document agrees with itself.
    fn consistent(&self) -> Result<(), String>;
}

/// A file by name and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// File name.
    pub name: String,
    /// Its digests.
    pub digest: DigestSet,
}

/// In-toto's form of a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// 64 hex digits.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
}

impl Subject {
    /// A file's name and digest.
    #[must_use]
    pub fn new(name: &str, digest: Digest) -> Self {
        Self { name: name.to_owned(), digest: DigestSet { sha256: digest.hex() } }
    }
}

const STATEMENT: &str = "https://in-toto.io/Statement/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Writing<'a, T> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Subject>,
    predicate_type: &'static str,
    predicate: &'a T,
}

/// The in-toto statement around a document.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(bound = "T: Document + JsonSchema")]
pub(super) struct Statement<T> {
    #[serde(rename = "_type")]
    #[schemars(extend("const" = STATEMENT))]
    kind: String,
    /// The files that the document speaks for.
    subject: Vec<Subject>,
    #[schemars(extend("const" = T::TYPE))]
    predicate_type: String,
    predicate: T,
}

/// Only the type, to say which document was found where another was expected.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peek {
    predicate_type: String,
}

/// Why bytes are not the document that they should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A seal over something else.
    #[error("it is of type `{found}`, not `{expected}`")]
    Type {
        /// Type expected.
        expected: &'static str,
        /// Type found.
        found: String,
    },
    /// Not JSON of the right shape.
    #[error("it cannot be read")]
    Json(#[source] serde_json::Error),
    /// It contradicts itself.
    #[error("it contradicts itself: {0}")]
    Inconsistent(String),
}

/// The bytes that are signed and shipped.
pub fn write<T: Document>(document: &T) -> Vec<u8> {
    statement(document.subjects(), T::TYPE, document)
}

/// The bytes of an in-toto statement.
pub(super) fn statement(
    subject: Vec<Subject>,
    predicate_type: &'static str,
    predicate: &impl Serialize,
) -> Vec<u8> {
    json(&Writing { kind: STATEMENT, subject, predicate_type, predicate })
}

/// Reads bytes whose signature has been verified. [`super::seal`] is the only caller.
pub(super) fn read<T: Document>(bytes: &[u8]) -> Result<T, DocumentError> {
    let peek: Peek = strict::from_slice(bytes).map_err(DocumentError::Json)?;
    if peek.predicate_type != T::TYPE {
        return Err(DocumentError::Type { expected: T::TYPE, found: peek.predicate_type });
    }
    let statement: Statement<T> = serde_json::from_slice(bytes).map_err(DocumentError::Json)?;
    if statement.kind != STATEMENT || statement.predicate_type != T::TYPE {
        return Err(DocumentError::Type { expected: STATEMENT, found: statement.kind });
    }
    if statement.subject != statement.predicate.subjects() {
        return Err(DocumentError::Inconsistent("its subjects are not the files that it names".to_owned()));
    }
    statement.predicate.consistent().map_err(DocumentError::Inconsistent)?;
    Ok(statement.predicate)
}
