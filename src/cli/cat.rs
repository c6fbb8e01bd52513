//! `imgforge cat`

use std::path::PathBuf;

use imgforge::flow::inspect;

use super::Context;
use super::report::Failure;

/// Print one file of an archive's image
///
/// Links are followed as a process in the image would follow them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An archive
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A path in the image
    #[arg(value_name = "PATH")]
    path: String,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let opened = inspect::open(&self.file)?;
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        Ok(opened.cat(&self.path, &mut context.screen.bytes_out(), &hear)?)
    }
}
