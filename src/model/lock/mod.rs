//! `imgforge.lock`: every file that the steps of a project's recipes download, by digest.
//!
//! A [`Pin`] belongs to what was asked, not to a place in a file: [`Pin::of`] is a digest over the
//! step, the platform, the lock file that the step names and, for what depends on them, the Debian
//! packages that are there before. Whatever changes one of these makes another question, to which
//! the lock has no answer; that is drift, and an error. Tiers that ask the same share the answer.
//!
//! [`want`] finds the questions in recipes, [`pins`] brings questions and answers together for a
//! plan, [`npm`], [`pnpm`], [`pip`], [`cargo`], [`golang`] and [`debian`] read the formats in which answers come.

pub mod cargo;
pub mod change;
pub mod debian;
pub mod golang;
pub mod npm;
pub mod pins;
pub mod pip;
pub mod pnpm;
pub mod want;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::name::Platform;
use super::recipe::parse::Finding;

/// Name of the file, beside the recipes.
pub const LOCK_FILE: &str = "imgforge.lock";

const HEAD: &str = "# Written by `imgforge recipe lock`, which is also how to change it.\n";

/// The answers of a project, by question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// Never two for one question.
    pub pins: BTreeMap<Digest, Pin>,
}

/// What one step downloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pin {
    /// Which step, for people: `oracle: apt curl`.
    pub step: String,
    /// For which platform.
    pub platform: Platform,
    /// Digest of the question.
    pub of: Digest,
    /// The files, by name and version.
    pub files: Vec<Item>,
}

/// One file that is downloaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Name of the package.
    pub name: String,
    /// Its version, as its own world writes versions.
    pub version: String,
    /// Length in bytes.
    pub size: u64,
    /// Digest of the bytes.
    pub digest: Digest,
    /// What npm (`sha512-..`) or Go (`h1:..`) call it, checked when the file was pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<String>,
    /// Where it was downloaded from.
    pub url: String,
}

/// The file as it is written: a list, so that a file which holds one question twice is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u8,
    #[serde(default)]
    pin: Vec<WrittenPin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPin {
    step: String,
    platform: Platform,
    of: Digest,
    files: Vec<Item>,
}

const VERSION: u8 = 1;

impl Lock {
    /// Parses the file. `file` is its name in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, Finding> {
        let wrong = |reason: String| {
            Finding::file(file, reason)
                .fix("take the file from version control, or remove it and run `imgforge recipe lock`")
        };
        let written: Written = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            wrong(format!("{place}{}", error.message().trim().replace('\n', ", ")))
        })?;
        if written.version != VERSION {
            return Err(Finding::file(
                file,
                format!("has version {}, and this imgforge knows {VERSION}", written.version),
            )
            .fix("use the imgforge that wrote it"));
        }
        let mut pins = BTreeMap::new();
        for WrittenPin { step, platform, of, files } in written.pin {
            for item in &files {
                item.check().map_err(|reason| wrong(format!("`{step}`: {reason}")))?;
            }
            let again = format!("`{step}` stands in it twice");
            if pins.insert(of, Pin { step, platform, of, files }).is_some() {
                return Err(wrong(again));
            }
        }
        Ok(Self { pins })
    }

    /// The file: steps and files in order, a file on each line, so that a change is a line.
    #[must_use]
    pub fn render(&self) -> String {
        let mut pins: Vec<&Pin> = self.pins.values().collect();
        pins.sort_by_key(|pin| (&pin.step, &pin.platform, &pin.of));
        let mut out = format!("{HEAD}version = {VERSION}\n");
        let text = |text: &str| toml::Value::from(text).to_string();
        for pin in pins {
            let step = text(&pin.step);
            let _ = write!(
                out,
                "\n[[pin]]\nstep = {step}\nplatform = \"{}\"\nof = \"{}\"\nfiles = [\n",
                pin.platform, pin.of
            );
            for Item { name, version, size, digest, integrity, url } in &pin.files {
                let integrity = integrity.as_deref().map(|hash| format!("integrity = {}, ", text(hash)));
                let integrity = integrity.unwrap_or_default();
                let (name, version, url) = (text(name), text(version), text(url));
                let _ = writeln!(
                    out,
                    "    {{ name = {name}, version = {version}, size = {size}, digest = \"{digest}\", {integrity}url = {url} }},"
                );
            }
            out.push_str("]\n");
        }
        out
    }

    /// Every file, once.
    #[must_use]
    pub fn files(&self) -> BTreeMap<Digest, &Item> {
        self.pins.values().flat_map(|pin| &pin.files).map(|item| (item.digest, item)).collect()
    }
}

impl Item {
    /// The last part of the URL: what the file is called in a build.
    #[must_use]
    pub fn file_name(&self) -> String {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        percent_decoded(path.rsplit('/').next().unwrap_or_default())
    }

    /// Where it lies in the folder of its step: npm and Go look for files in places of their own.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        match self.integrity.as_deref() {
            None => Some(self.file_name()),
            Some(hash) if golang::is_hash(hash) => golang::path(&self.name, &self.version),
            Some(hash) => npm::content_path(hash),
        }
    }

    /// It becomes a path in a build and is downloaded by machines: both must be harmless.
    fn check(&self) -> Result<(), String> {
        let name = self.file_name();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+~%-:!@=".contains(c);
        if name.is_empty() || name.starts_with(['.', '-']) || name.len() > 255 || !name.chars().all(plain) {
            return Err(format!("`{}` does not end in the name of a file", self.url));
        }
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            return Err(format!("`{}` is no address of the web", self.url));
        }
        match (self.path(), &self.integrity) {
            (None, Some(integrity)) => {
                Err(format!("`{self}` is no package with the integrity `{integrity}`"))
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Mirrors write `+` and `~` in Debian's file names as `%2b` and `%7e`.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code =
            tail.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code {
            Some(code) if byte == b'%' => {
                bytes.push(code);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item() -> impl Strategy<Value = Item> {
        let hash = prop::collection::vec(any::<u8>(), 64).prop_map(|bytes| npm::integrity(&bytes));
        let url = "https?://[a-z]{1,9}/[a-z/]{0,9}/[a-z][a-z0-9._+~-]{0,20}";
        (any::<String>(), any::<String>(), any::<u64>(), any::<[u8; 8]>(), prop::option::of(hash), url)
            .prop_map(|(name, version, size, bytes, integrity, url)| {
                let size = size >> 1;
                Item { name, version, size, digest: Digest::of(&bytes), integrity, url }
            })
    }

    fn lock() -> impl Strategy<Value = Lock> {
        let pin = (any::<String>(), any::<bool>(), any::<[u8; 8]>(), prop::collection::vec(item(), 0..4));
        let pin = pin.prop_map(|(step, arm, of, files)| {
            let platform = if arm { "linux/arm64" } else { "linux/amd64" }.parse().unwrap();
            Pin { step, platform, of: Digest::of(&of), files }
        });
        prop::collection::vec(pin, 0..4)
            .prop_map(|pins| Lock { pins: pins.into_iter().map(|pin| (pin.of, pin)).collect() })
    }

    proptest! {
        #[test]
        fn a_lock_is_read_as_it_was_written(lock in lock()) {
            let text = lock.render();
            let read = Lock::parse("imgforge.lock", &text).unwrap();
            prop_assert_eq!(&read, &lock);
            prop_assert_eq!(read.render(), text);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Lock::parse("imgforge.lock", &text);
        }

        #[test]
        fn a_name_in_a_build_stays_in_its_folder(item in item(), url in ".{0,40}") {
            let item = Item { url: format!("https://host/{url}"), ..item };
            if item.check().is_ok() {
                prop_assert!(!item.file_name().contains('/') && !item.file_name().starts_with('.'));
            }
        }
    }

    #[test]
    fn refusals_say_where_and_what() {
        let refusal = |text: &str| Lock::parse("imgforge.lock", text).unwrap_err().to_string();
        insta::assert_snapshot!(refusal("version = 2\n"), @"imgforge.lock: has version 2, and this imgforge knows 1");
        insta::assert_snapshot!(refusal("version = 1\n[[pin]]\nstpe = \"x\"\n"), @"imgforge.lock: line 3: unknown field `stpe`, expected one of `step`, `platform`, `of`, `files`");
        let pin =
            format!("[[pin]]\nstep = \"s\"\nplatform = \"linux/amd64\"\nof = \"{}\"\n", Digest::of(b""));
        let twice = format!("version = 1\n{pin}files = []\n{pin}files = []\n");
        insta::assert_snapshot!(refusal(&twice), @"imgforge.lock: `s` stands in it twice");
        let file = |url: &str| {
            let digest = Digest::of(b"");
            refusal(&format!(
                "version = 1\n{pin}files = [{{ name = \"n\", version = \"1\", size = 1, digest = \"{digest}\", url = \"{url}\" }}]\n"
            ))
        };
        insta::assert_snapshot!(file("http://x/%2e%2e"), @"imgforge.lock: `s`: `http://x/%2e%2e` does not end in the name of a file");
        insta::assert_snapshot!(file("http://x/a%2fb"), @"imgforge.lock: `s`: `http://x/a%2fb` does not end in the name of a file");
        insta::assert_snapshot!(file("file:///etc/passwd"), @"imgforge.lock: `s`: `file:///etc/passwd` is no address of the web");
    }
}
