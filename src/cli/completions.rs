//! `imgforge completions`

use clap::CommandFactory as _;

use super::Context;
use super::report::Failure;

/// Print completions for a shell
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Arguments::command(), "imgforge", &mut script);
        context.screen.text(&String::from_utf8_lossy(&script));
        Ok(())
    }
}
