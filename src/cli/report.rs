//! The only place where errors become prose: message, causes, hint, exit code.
//!
//! Exit codes are a promise to scripts; `docs/exit-codes.md` says the same and a test compares.

mod engines;
mod files;
mod found;
mod locking;
mod stores;
mod trust;

use std::error::Error as _;
use std::fmt;
use std::path::Path;

use imgforge::flow::Error;
use imgforge::model::policy::{self, Weight};
use imgforge::model::recipe::parse::Finding;
use imgforge::model::scan::find::Match;
use imgforge::model::seal::SealError;
use imgforge::step::bootstrap::BootstrapError;
use imgforge::step::build::BuildError;
use imgforge::step::check::CheckError;
use imgforge::step::content::ContentError;
use imgforge::step::download::{ChainError, DownloadError};
use imgforge::step::gather::GatherError;
use imgforge::step::list::ListError;
use imgforge::step::load::LoadError;
use imgforge::step::pack::PackError;
use imgforge::step::pin::PinError;
use imgforge::step::read::ReadError;
use imgforge::step::receive::ReceiveError;
use imgforge::step::resolve::{AptError, ResolveError};
use imgforge::step::sign::SignError;
use imgforge::step::upload::UploadError;

use engines::{build, engine};
use stores::{open, store};
use trust::signed;

/// What a script can rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Other = 1,
    Usage = 2,
    Policy = 3,
    Found = 4,
    NotSigned = 10,
    Untrusted = 11,
    Mismatch = 12,
    Expired = 13,
    Older = 14,
    Yanked = 15,
    Network = 20,
    Denied = 21,
    DiskFull = 22,
    BuildFailed = 30,
    Engine = 31,
    Unreproducible = 32,
    Interrupted = 130,
}

/// A failed command, in words.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    causes: Vec<String>,
    /// What is wrong in recipes.
    findings: Vec<Finding>,
    /// What the policy found in an image.
    policy: Vec<policy::Finding>,
    /// Lines of a log, shown between the message and the hint.
    log: Vec<String>,
    hint: Option<String>,
    /// What was checked before, and what failed, for `--json`.
    checks: Option<serde_json::Value>,
}

impl Failure {
    fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            causes: Vec::new(),
            findings: Vec::new(),
            policy: Vec::new(),
            log: Vec::new(),
            hint: None,
            checks: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Something that was asked for in the wrong way.
    pub(crate) fn usage(message: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self::new(Code::Usage, message).hint(hint)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted")
            .hint("nothing half-made has a final name; the same command goes on where it can")
    }

    pub(crate) fn no_home() -> Self {
        Self::usage("neither `HOME` nor the XDG folders are set", "set `HOME`")
    }

    pub(crate) fn no_password() -> Self {
        Self::usage(
            "the private key needs a password, and there is no terminal to ask on",
            "set `COSIGN_PASSWORD`, or name a file with `--password-file FILE`",
        )
    }

    pub(crate) fn environment(variable: &str, error: impl fmt::Display) -> Self {
        Self::usage(format!("`{variable}`: {error}"), format!("change or unset `{variable}`"))
    }

    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        let mut failure = Self::new(Code::Usage, format!("cannot read `{}`", path.display()));
        failure.causes.push(error.to_string());
        failure
    }

    pub(crate) fn would_change(file: &str) -> Self {
        Self::new(Code::Found, format!("`{file}` would change"))
            .hint("run the same command without `--check`")
    }

    pub(crate) fn code(&self) -> u8 {
        self.code as u8
    }

    /// Adds what was checked before.
    pub(crate) fn with_checks(mut self, checks: serde_json::Value) -> Self {
        self.checks = Some(checks);
        self
    }

    /// The same for `--json`.
    pub(crate) fn object(&self) -> serde_json::Value {
        let mut object = serde_json::json!({"error": {
            "code": self.code(), "message": self.message, "causes": self.causes,
            "findings": self.findings, "policy": self.policy, "log": self.log, "hint": self.hint,
        }});
        if let Some(checks) = &self.checks {
            object["checks"] = checks.clone();
        }
        object
    }
}

/// Text from outside without the characters that steer a terminal: a document that nobody verified
/// must not be able to clear the screen and write "OK" on it.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", harmless(&self.message))?;
        for cause in &self.causes {
            writeln!(f, "  cause: {}", harmless(cause))?;
        }
        for finding in &self.findings {
            if self.findings.len() > 1 {
                writeln!(f, "  {}", harmless(&finding.to_string()))?;
            }
            if let Some(fix) = &finding.fix {
                writeln!(f, "    fix: {}", harmless(fix))?;
            }
        }
        for finding in &self.policy {
            let weight = if finding.weight == Weight::Warning { "warning: " } else { "" };
            writeln!(f, "  {weight}{}", harmless(&finding.to_string()))?;
            for detail in &finding.details {
                writeln!(f, "      {}", harmless(detail))?;
            }
            writeln!(f, "    fix: {}", harmless(&finding.fix))?;
        }
        for line in &self.log {
            writeln!(f, "  | {}", harmless(line))?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let (code, hint) = judge(&error);
        let mut failure = Self::new(code, &error);
        if let Error::Recipe(findings)
        | Error::Read(ReadError::Recipe(findings))
        | Error::Gather(GatherError::Absent(findings)) = &error
        {
            failure.findings = findings.iter().cloned().collect();
            if let [_, _, ..] = failure.findings[..] {
                failure.message = format!("{} things are wrong in the recipes", failure.findings.len());
            } else if let Some(finding) = failure.findings.first() {
                failure.message = finding.to_string();
            }
        }
        failure.hint = hint;
        let mut cause = error.source();
        while let Some(next) = cause {
            let text = next.to_string();
            // Some libraries repeat their source in their own message.
            if failure.causes.last().is_none_or(|last| !last.contains(&text)) {
                failure.causes.push(text);
            }
            cause = next.source();
        }
        match error {
            Error::Seal(SealError::Untrusted { claimed: Some(claimed), .. }) => {
                failure.causes.push(format!("it says that key {claimed} sealed it"));
            }
            Error::Build(BuildError::Refused { line: Some(line), .. }) => failure.causes.push(rendered(line)),
            Error::Build(BuildError::Step(step)) => {
                failure.causes.insert(0, step.message);
                failure.causes.extend(step.line.map(rendered));
                failure.log = step.log;
            }
            Error::Policy(refusal) | Error::Build(BuildError::Policy(refusal)) => {
                failure.policy = refusal.findings;
            }
            Error::Bootstrap(BootstrapError::Failed { log, .. })
            | Error::Resolve(ResolveError::Apt(AptError::Failed { log, .. })) => failure.log = log,
            Error::Vulnerable(scan) => {
                let line = |one: &Match| format!("{one}: {}", one.advice());
                failure.causes = scan.failing().map(line).collect();
                failure.checks = Some(serde_json::json!(scan));
            }
            Error::Unreproducible { difference, .. } => {
                failure.causes.push(difference.to_string());
                failure.causes.extend(difference.step.map(|step| format!("the step is `{step}`")));
            }
            _ => {}
        }
        failure
    }
}

fn rendered(line: u32) -> String {
    format!("it is line {line} of the rendered Dockerfile")
}

const DIFFERS: &str =
    "leave out what differs by itself: dates, random numbers, logs, caches, the order of a listing";

fn judge(error: &Error) -> (Code, Option<String>) {
    if let Some((code, hint)) = signed(error) {
        return (code, Some(hint));
    }
    let (code, hint) = match error {
        Error::Recipe(_) | Error::Finding(_) | Error::Read(ReadError::Recipe(_)) => {
            (Code::Usage, "change the file, then run `imgforge recipe check`")
        }
        Error::Read(ReadError::NoFolder(_)) => (Code::Usage, "name the folder with `--recipes DIR`"),
        Error::Gather(error) => files::gather(error),
        Error::Keyring(error) => files::keyring(error),
        Error::Key(_) | Error::Sign(SignError::Key(_)) => files::KEY,
        Error::Sign(SignError::Read(..)) => (
            Code::Usage,
            "check the path; what is larger than 64 MiB is signed by its digest, in a list as `sha256sum` writes it",
        ),
        Error::Sign(SignError::Disguised(_)) => {
            (Code::Usage, "somebody wants your key's signature over a document; find out what the file is")
        }
        Error::Policy(_) => POLICY,
        Error::Vulnerable(_) | Error::Advisories(_) | Error::NoRecipes(_) => found::judge(error),
        Error::Build(error) => build(error),
        Error::Unreproducible { .. } => (Code::Unreproducible, DIFFERS),
        Error::Unlocked { .. }
        | Error::Obtain(_)
        | Error::Web(_)
        | Error::Resolve(_)
        | Error::Bootstrap(BootstrapError::NoTool | BootstrapError::Failed { .. }) => locking::judge(error),
        Error::Content(ContentError::Missing(_)) => {
            (Code::Usage, "build it first with `imgforge build TIER`, and the same `--version`")
        }
        Error::Unreleased { .. } => {
            (Code::NotSigned, "the store is incomplete, nothing was loaded; tell the project")
        }
        Error::NotNamed(_) | Error::Misplaced { .. } => {
            (Code::Mismatch, "the store was damaged or replaced, nothing was loaded; tell the project")
        }
        Error::Check(CheckError::Io { .. }) => (Code::Other, "check the path and its permissions"),
        Error::Pack(PackError::Damaged { .. }) => {
            (Code::Other, "the damaged blob was removed: build again, then export")
        }
        Error::List(ListError::Missing(_)) => {
            (Code::Usage, "`imgforge diff` and `imgforge inspect` show what there is")
        }
        Error::List(ListError::Member(_)) => (Code::Mismatch, "the file was damaged; fetch it again"),
        Error::Tail(_) => (Code::Usage, "name an archive that imgforge wrote"),
        Error::Check(_) => {
            (Code::Mismatch, "the file was damaged or replaced, nothing was loaded; fetch it again")
        }
        Error::Load(LoadError::Differs { .. }) => {
            (Code::Mismatch, "do not start it; remove it with `docker image rm`, and fetch again")
        }
        Error::Load(LoadError::Unsound { .. }) => (
            Code::Engine,
            "`docker run --rm --network none IMAGE check` shows what it says; tell the project",
        ),
        Error::Load(LoadError::Taken { .. }) => {
            (Code::Other, "if that image may lose its name, add `--replace`")
        }
        Error::Load(LoadError::Engine(error)) | Error::Engine(error) => engine(error),
        Error::Receive(ReceiveError::Wrong { .. } | ReceiveError::Size { .. }) => (
            Code::Mismatch,
            "nothing of it was loaded; try another store with `--from`, and tell the project",
        ),
        Error::Disk(error) => files::disk(error),
        Error::NotAnArchive(_) => (Code::NotSigned, "ask for an archive that `imgforge release` published"),
        Error::Store(error)
        | Error::Receive(ReceiveError::Store(error))
        | Error::Upload(UploadError::Store(error))
        | Error::Download(DownloadError::Store(error))
        | Error::Chain(ChainError::Store(error)) => store(error),
        Error::Open(error) => open(error),
        Error::Registry(error) => stores::registry(error),
        Error::Absent(_) => (Code::Usage, "check the path"),
        Error::Stranger { .. } => {
            (Code::Untrusted, "compare your keys with the projects': `imgforge trust show`")
        }
        Error::NoRelease { .. } | Error::NoReleaseIn { .. } => (
            Code::NotSigned,
            "get `release.sigstore.json` from where the archive came from, or sign with `imgforge sign FILE`",
        ),
        Error::NotInRelease { .. } => (Code::Mismatch, "this file belongs to another release"),
        Error::NoArchive { .. } => (Code::Usage, "choose another tier, or a platform with `--platform`"),
        Error::Leftover(..) | Error::Published(_) | Error::OtherPatches { .. } | Error::Backwards { .. } => {
            stores::publication(error)
        }
        Error::FileName(_) | Error::Mixed(..) => (Code::Usage, "name files as `imgforge export` wrote them"),
        Error::Pin(PinError::Nobody | PinError::Unknown(_)) => {
            (Code::Usage, "run `imgforge trust add PROJECT --key cosign.pub --from STORE`")
        }
        Error::Pin(PinError::Several(_)) => (Code::Usage, "write PROJECT/TIER"),
        Error::Pin(PinError::Other(..)) => (
            Code::Untrusted,
            "ask the project over another way whether its key changed; `imgforge trust show` shows yours",
        ),
        Error::Remember(_) => {
            (Code::Other, "it protects against rollback, so it is never ignored: repair or remove the file")
        }
        _ => return (full_disk(error).unwrap_or(Code::Other), None),
    };
    (full_disk(error).unwrap_or(code), Some(hint.to_owned()))
}

pub(super) const POLICY: (Code, &str) =
    (Code::Policy, "docs/policy.md explains each rule and its exceptions");

fn full_disk(error: &Error) -> Option<Code> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(next) = cause {
        if let Some(io) = next.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return Some(Code::DiskFull);
        }
        cause = next.source();
    }
    None
}
