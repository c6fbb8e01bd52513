//! What to do about files that were named: those of a context, and keys; and about full disks.

use imgforge::model::key::KeyError;
use imgforge::step::disk::{DiskError, Purpose};
use imgforge::step::gather::GatherError;
use imgforge::step::keyring::KeyringError;

use super::Code;

pub(super) const KEY: (Code, &str) =
    (Code::Usage, "use an ECDSA P-256 or RSA key; `imgforge keys generate` makes one");

const PERMISSIONS: (Code, &str) = (Code::Usage, "check the path and its permissions");

pub(super) fn gather(error: &GatherError) -> (Code, &'static str) {
    match error {
        GatherError::Io(..) => PERMISSIONS,
        GatherError::Absent(_) | GatherError::Pattern(_) => (
            Code::Usage,
            "only what steps name is sent to the builder: change the recipe or the files, then run `imgforge recipe check`",
        ),
        _ => (Code::Usage, "move it, or leave it out with a line in `.dockerignore`"),
    }
}

pub(super) fn disk(error: &DiskError) -> (Code, &'static str) {
    match error {
        DiskError::Peak { needs, .. } if needs.iter().any(|need| need.purpose == Purpose::Engine) => (
            Code::DiskFull,
            "make room: `docker system df` shows what Docker keeps, `imgforge cache list` what imgforge does",
        ),
        DiskError::Full { .. } | DiskError::Peak { .. } => {
            (Code::DiskFull, "make room, or put the cache elsewhere with `XDG_CACHE_HOME`")
        }
        DiskError::Io(..) => (Code::Other, "check the path and its permissions"),
    }
}

pub(super) fn keyring(error: &KeyringError) -> (Code, &'static str) {
    match error {
        KeyringError::Password(_) => {
            (Code::Usage, "set `COSIGN_PASSWORD`, or name a file with `--password-file FILE`")
        }
        KeyringError::Exists(_) => {
            (Code::Usage, "choose another name with `--name NAME`, or move the old key away")
        }
        KeyringError::Io(..) => PERMISSIONS,
        KeyringError::Format { .. } => {
            (Code::Usage, "name a private key: `imgforge keys generate` writes `cosign.key`")
        }
        KeyringError::Refused(_, KeyError::Label(_) | KeyError::NotPem) => (
            Code::Usage,
            "name a public key, `cosign.pub`; `imgforge keys public FILE` prints the one of a private key",
        ),
        _ => KEY,
    }
}
