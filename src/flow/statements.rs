//! What is stated of archives, signed and beside them: made of the papers in an archive, and read back.

use std::path::Path;

use super::{Error, inspect};
use crate::model::attestation::{Statement, StatementError, Topic};
use crate::model::image::Image;
use crate::model::key::PublicKey;
use crate::model::release::Whole;
use crate::model::seal::MAX_ATTESTATION;
use crate::step::keyring::SigningKey;
use crate::step::receive::Location;
use crate::step::store::Key;
use crate::step::upload::{self, UploadError};
use crate::step::{atomic, sign};

/// The statements that follow from the papers of an archive on this disk, one for each that says something
/// of the image.
fn of(path: &Path, image: &Image, whole: &Whole) -> Result<Vec<Statement>, Error> {
    let opened = inspect::open(path)?;
    let mut statements = Vec::new();
    for paper in opened.index.papers() {
        if let Some(topic) = Topic::of_paper(&paper.name) {
            let bytes = opened.paper(&paper.digest)?;
            statements.push(Statement::new(topic, image, whole, &bytes)?);
        }
    }
    Ok(statements)
}

/// Signs what is stated of an archive.
pub fn sign(
    folder: &Path,
    image: &Image,
    whole: &Whole,
    key: &SigningKey,
) -> Result<Vec<(Statement, Vec<u8>)>, Error> {
    let statements = of(&folder.join(&whole.file), image, whole)?.into_iter();
    statements
        .map(|statement| {
            let bundle = sign::attest(&statement.attestation, key)?;
            Ok((statement, bundle))
        })
        .collect()
}

/// A bundle, and whether it says what it should.
pub(super) type Judged = (String, Result<(), StatementError>);

/// The bundles that lie beside an archive that was checked, which is at `path` and was signed as `file`, and
/// whether each says what stands in it. None has to be there: whoever was given the archive alone has none.
pub(super) fn beside(
    path: &Path,
    (file, image): (&str, &Image),
    keys: &[PublicKey],
) -> Result<Vec<Judged>, Error> {
    let there = Topic::ALL.map(|topic| topic.bundle(file)).into_iter();
    let there: Vec<String> = there.filter(|bundle| path.with_file_name(bundle).exists()).collect();
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let whole = Whole { file: file.to_owned(), blob: upload::measure(path)? };
    let statements = of(path, image, &whole)?;
    let check = |bundle: String| {
        let path = path.with_file_name(&bundle);
        let bytes =
            atomic::read_bounded(&path, MAX_ATTESTATION).map_err(|error| UploadError::Io(path, error))?;
        let says = match statements.iter().find(|statement| statement.file == bundle) {
            Some(statement) => statement.check(&bytes, keys),
            // Nothing stands in the archive that it could say.
            None => Err(StatementError::Other { file: bundle.clone(), archive: whole.file.clone() }),
        };
        Ok((bundle, says))
    };
    there.into_iter().map(check).collect()
}

/// Reads back what is stated of an archive that was checked, which is at `path`. Every bundle has to be
/// there, and to say what stands in the archive: what is returned was verified.
pub(super) async fn fetch(
    place: &Location,
    path: &Path,
    (image, whole): (&Image, &Whole),
    keys: &[PublicKey],
) -> Result<Vec<(Key, Vec<u8>)>, Error> {
    let mut found = Vec::new();
    for statement in of(path, image, whole)? {
        let key = place.key.beside(&statement.file);
        let bundle = place.store.get(&key, MAX_ATTESTATION).await?;
        statement.check(&bundle, keys)?;
        found.push((key, bundle));
    }
    Ok(found)
}
