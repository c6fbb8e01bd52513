//! Lines of a result, aligned.

use std::fmt::{Display, Write as _};

use imgforge::model::channel::Channel;
use imgforge::model::release::{Archive, Release};
use imgforge::model::seal::Verified;

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

    /// The row of an archive: where, how large, which.
    pub(crate) fn archive(&mut self, place: impl Display, archive: &Archive) -> &mut Self {
        let size = indicatif::DecimalBytes(archive.size);
        self.row("archive", format!("{place}  {size}  {}", archive.digest))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}
