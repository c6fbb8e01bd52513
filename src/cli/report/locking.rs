//! What to do when something cannot be pinned, or what is pinned cannot be had.

use imgforge::flow::Error;
use imgforge::step::bootstrap::BootstrapError;
use imgforge::step::obtain::ObtainError;
use imgforge::step::resolve::{AptError, ResolveError};
use imgforge::step::web::WebError;

use super::Code;

pub(super) fn judge(error: &Error) -> (Code, &'static str) {
    match error {
        Error::Bootstrap(BootstrapError::NoTool) => (Code::Usage, "run `apt-get install mmdebstrap`"),
        Error::Bootstrap(_) => {
            (Code::BuildFailed, "check the names of the suite and the packages, and the network")
        }
        Error::Unlocked { .. } => {
            (Code::Usage, "`imgforge recipe lock` pins what can be pinned; see docs/locking.md")
        }
        Error::Obtain(ObtainError::Gone { source, .. }) => pinned(source),
        Error::Web(error) | Error::Resolve(ResolveError::Web { source: error, .. }) => web(error),
        Error::Resolve(ResolveError::Finding(_)) => {
            (Code::Usage, "change the file, then run the same command again")
        }
        Error::Resolve(ResolveError::Apt(AptError::NoTool)) => {
            (Code::Usage, "lock on a machine with apt, such as Debian")
        }
        Error::Resolve(ResolveError::Apt(_)) => {
            (Code::Other, "check the names of the suite and the packages, and the network")
        }
        _ => (Code::Other, "check the path and its permissions"),
    }
}

/// A file that was pinned before.
fn pinned(error: &WebError) -> (Code, &'static str) {
    match error {
        WebError::Silent { .. } => (Code::Network, "what came is kept: run the same command again"),
        WebError::Differs { .. } => (
            Code::Mismatch,
            "other bytes than were pinned are never used; `imgforge recipe lock --upgrade` pins anew",
        ),
        _ => (
            Code::Other,
            "take it from a content store that has it, or pin what there is today: `imgforge recipe lock --upgrade`",
        ),
    }
}

fn web(error: &WebError) -> (Code, &'static str) {
    match error {
        WebError::Client(error) => super::stores::client(error),
        WebError::Silent { .. } => (Code::Network, "what came is kept: run the same command again"),
        WebError::Content(_) => (Code::Other, "check the disk"),
        WebError::Differs { .. } | WebError::Zip { .. } => {
            (Code::Mismatch, "compare your lock file with its registry")
        }
        _ => (Code::Other, "check the name and the version in your lock file"),
    }
}
