//! What seals, channels and trust documents that are refused mean for a person.

use std::io::ErrorKind;

use imgforge::flow::Error;
use imgforge::model::attestation::StatementError;
use imgforge::model::channel::{ChannelError, Yank};
use imgforge::model::seal::SealError;
use imgforge::model::time::SignedDuration;
use imgforge::model::trust::TrustError;
use imgforge::step::download::{ChainError, DownloadError};
use imgforge::step::remember::RememberError;
use imgforge::step::sign::SignError;

use super::Code;

/// Code and hint of what concerns signatures, and who may make them.
pub(super) fn signed(error: &Error) -> Option<(Code, String)> {
    let (code, hint) = match error {
        Error::Seal(error)
        | Error::Sign(SignError::Unverifiable(error))
        | Error::Trust(TrustError::Seal(error))
        | Error::Chain(ChainError::Trust(TrustError::Seal(error))) => seal(error),
        Error::Statement(error) => statement(error),
        Error::OtherPaper { .. } => (Code::Mismatch, "the file was damaged or replaced; fetch it again"),
        Error::NoPaper { .. } => {
            (Code::Usage, "it was packed without; ask the project for what it published")
        }
        Error::Trust(error) | Error::Chain(ChainError::Trust(error)) => trust(error),
        Error::Channel(ChannelError::Expired { age, .. }) => return Some((Code::Expired, expired(*age))),
        Error::Channel(ChannelError::Yanked(Yank { instead: Some(version), .. })) => {
            return Some((
                Code::Yanked,
                format!("nothing was loaded; the project says to use {version} instead"),
            ));
        }
        Error::Channel(error) | Error::Remember(RememberError::Channel(error)) => channel(error),
        Error::NoRole { .. } => (
            Code::Untrusted,
            "sign with a key that has the role; after a rotation, name the key that operators pinned with `--pinned FILE`",
        ),
        Error::Download(DownloadError::Io(_, error)) | Error::Chain(ChainError::Io(_, error))
            if error.kind() == ErrorKind::FileTooLarge =>
        {
            super::stores::TOO_LARGE
        }
        Error::LowerFloor { .. } => (Code::Other, "a floor only rises: operators remember it"),
        Error::NoChannel(_) | Error::NobodyListens => {
            (Code::Other, "make one with `imgforge channel set NAME VERSION`")
        }
        Error::RetiredChannel(_) => (Code::Other, "point it anew with `imgforge channel set NAME VERSION`"),
        Error::NotReleased(_) => (Code::Other, "check the store, the project and the version"),
        Error::NoReplacement { .. } => (Code::Usage, "say what to run instead with `--to VERSION`"),
        _ => return None,
    };
    Some((code, hint.to_owned()))
}

fn seal(error: &SealError) -> (Code, &'static str) {
    match error {
        SealError::NotSealed { document: "image", .. } => (
            Code::NotSigned,
            "only images that the project's key signed are accepted, nothing was loaded; tell the project",
        ),
        SealError::NotSealed { .. } => {
            (Code::NotSigned, "only releases sealed by imgforge are accepted, nothing was loaded")
        }
        SealError::Untrusted { .. } => (
            Code::Untrusted,
            "nothing was loaded; compare your key with the project's: `imgforge trust show`",
        ),
        SealError::Retired { .. } => (
            Code::Untrusted,
            "nothing was loaded; the project replaced that key: only what its new one seals counts",
        ),
        SealError::Changed { .. } | SealError::Document { .. } => {
            (Code::Mismatch, "the document was damaged or replaced, nothing was loaded; fetch it again")
        }
    }
}

fn statement(error: &StatementError) -> (Code, &'static str) {
    const HINT: &str =
        "the bundle was damaged or replaced, and nothing was done with the release; tell the project";
    match error {
        StatementError::NotSigned { .. } => (Code::NotSigned, HINT),
        StatementError::Untrusted { .. } => (Code::Untrusted, HINT),
        StatementError::Other { .. } | StatementError::Paper { .. } => (Code::Mismatch, HINT),
    }
}

fn expired(age: SignedDuration) -> String {
    let days = age.as_hours() / 24 + 1;
    format!(
        "ask the project to renew its channel; `--max-age {days}d` believes it all the same, and a version that you name, TIER@VERSION, does not expire"
    )
}

fn channel(error: &ChannelError) -> (Code, &'static str) {
    match error {
        ChannelError::Expired { .. } => (Code::Expired, "ask the project to renew its channel"),
        ChannelError::TooOld { .. } => (Code::Expired, "nothing was loaded; choose a longer `--max-age`"),
        ChannelError::Older { .. } | ChannelError::Equivocation { .. } => (
            Code::Older,
            "somebody shows you an old state of the store, nothing was loaded; tell the project",
        ),
        ChannelError::BelowFloor { .. } => (
            Code::Older,
            "the project wants nobody to go back that far, nothing was loaded; fetch a newer version",
        ),
        ChannelError::Yanked(_) => (Code::Yanked, "nothing was loaded; fetch another version"),
        ChannelError::Future { .. } | ChannelError::ClockBack { .. } => {
            (Code::Expired, "set this machine's clock")
        }
        ChannelError::Other { .. } => {
            (Code::Mismatch, "the store was damaged or replaced, nothing was loaded; tell the project")
        }
    }
}

fn trust(error: &TrustError) -> (Code, &'static str) {
    match error {
        TrustError::Seal(error) => seal(error),
        TrustError::Form(_) => {
            (Code::NotSigned, "the store was damaged or replaced, nothing was loaded; tell the project")
        }
        TrustError::Project { .. } | TrustError::Version { .. } => {
            (Code::Mismatch, "the store was damaged or replaced, nothing was loaded; tell the project")
        }
        TrustError::Threshold { .. } | TrustError::Stranger => (
            Code::Untrusted,
            "somebody wants to change the keys who may not, nothing was loaded; tell the project",
        ),
        TrustError::Unjoined(_) => (
            Code::Untrusted,
            "compare your key with the project's over another way; `imgforge trust show` shows yours",
        ),
    }
}
