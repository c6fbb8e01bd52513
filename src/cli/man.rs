//! `imgforge man`

use std::path::PathBuf;

use clap::CommandFactory as _;
use serde_json::json;

use super::Context;
use super::report::Failure;

/// Print the manual page, or write one for each command
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write `imgforge.1`, `imgforge-build.1` and the others into this folder
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let command = crate::Arguments::command();
        let Some(folder) = self.output else {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(command).render(&mut page);
            rendered.map_err(|error| Failure::file("imgforge.1".as_ref(), &error))?;
            context.screen.text(&String::from_utf8_lossy(&page));
            return Ok(());
        };
        let written =
            std::fs::create_dir_all(&folder).and_then(|()| clap_mangen::generate_to(command, &folder));
        written.map_err(|error| Failure::file(&folder, &error))?;
        let words = format!("wrote      {}  try `man -l {0}/imgforge.1`", folder.display());
        context.screen.result(&words, &json!({"folder": folder}));
        Ok(())
    }
}
