//! `imgforge completions`

use clap::CommandFactory as _;

use super::Context;

/// Print completions for a shell
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Arguments::command(), "imgforge", &mut script);
        context.screen.text(&String::from_utf8_lossy(&script));
    }
}
