//! Lines of a result, aligned.

use std::fmt::{Display, Write as _};

use imgforge::model::channel::{Channel, Yank};
use imgforge::model::release::{Archive, Release};
use imgforge::model::seal::Verified;
use imgforge::model::trust::Trusted;

/// Rows of a name and a text.
#[derive(Default)]
pub(crate) struct Words(String);

impl Words {
    /// A row.
    pub(crate) fn row(&mut self, name: &str, text: impl Display) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:<9}  {text}");
        self
    }

    /// The row of a release.
    pub(crate) fn release(&mut self, release: &Verified<Release>) -> &mut Self {
        let text = format!("{} {}, sealed by key {}", release.project, release.version, release.signer());
        self.row("release", text)
    }

    /// The row of a channel.
    pub(crate) fn channel(&mut self, channel: &Channel) -> &mut Self {
        let Channel { channel, version, sequence, expires, .. } = channel;
        self.row("channel", format!("{channel} points to {version} (sequence {sequence}, expires {expires})"))
    }

    /// The rows of a channel and of all that it forbids.
    pub(crate) fn whole_channel(&mut self, channel: &Channel) -> &mut Self {
        self.channel(channel);
        let Channel { floor, yanked, .. } = channel;
        if let Some(floor) = floor {
            self.row("floor", format!("{floor}: nothing older may be loaded"));
        }
        for Yank { version, instead, reason } in yanked {
            let instead =
                instead.as_ref().map_or(String::new(), |instead| format!("; run {instead} instead"));
            self.row("withdrawn", format!("{version}: {reason}{instead}"));
        }
        self
    }

    /// The rows of the keys that count.
    pub(crate) fn trusted(&mut self, trusted: &Trusted) -> &mut Self {
        let (root, threshold) = trusted.root();
        let version = match trusted.version() {
            0 => "the pinned key alone".to_owned(),
            version => {
                format!("document {version}, {threshold} of {} root keys change it", root.iter().count())
            }
        };
        self.row("trust", version);
        if trusted.version() > 0 {
            let keys =
                [("root", root), ("releases", trusted.release_keys()), ("channels", trusted.channel_keys())];
            for (role, keys) in keys {
                for key in keys.iter() {
                    self.row(role, key.fingerprint());
                }
            }
        }
        self
    }

    /// The row of an archive: where, how large, which.
    pub(crate) fn archive(&mut self, place: impl Display, archive: &Archive) -> &mut Self {
        let size = indicatif::DecimalBytes(archive.size);
        self.row("archive", format!("{place}  {size}  {}", archive.digest))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}
