//! `imgforge init`

use std::path::Path;

use imgforge::flow;
use imgforge::model::name::ProjectName;
use imgforge::model::scaffold::{self, IGNORE, PRIVATE_KEYS};
use imgforge::step::scaffold::Fate;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;

/// Begin a project here: recipes with a small service, configuration, CI workflow; builds at once
///
/// A file that is there already stays as it is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the project [default: made of this folder's name]
    #[arg(value_name = "PROJECT")]
    project: Option<ProjectName>,
}

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let here = std::path::absolute(".").map_err(|error| Failure::file(Path::new("."), &error))?;
        let named = here.file_name().and_then(|name| scaffold::name(&name.to_string_lossy()));
        let project = self.project.or(named).ok_or_else(|| {
            Failure::usage(
                "this folder's name makes no name of a project",
                "name it: `imgforge init PROJECT`",
            )
        })?;
        if let Some(other) = other_project(&project) {
            return Err(Failure::usage(
                format!("there are recipes in `{other}` already"),
                "change those, or begin in another folder",
            ));
        }
        let platform = super::fetch::this_platform()?;
        let entries = flow::init::init(Path::new("."), &project, &platform)?;
        let mut words = Words::default();
        let mut objects = Vec::new();
        for (file, fate) in &entries {
            words.row(if *fate == Fate::Written { "wrote" } else { "kept" }, &file.path);
            objects.push(json!({"path": file.path, "new": *fate == Fate::Written}));
            if *fate == Fate::Kept && file.path == IGNORE {
                remind(context);
            }
        }
        words.row("next", "imgforge keys generate").row("", "imgforge build app --load");
        words.row("", format!("docker run --rm -p 8080:8080 {project}/app:0.1.0"));
        context.screen.result(words.text(), &json!({"project": project, "files": objects}));
        Ok(())
    }
}

/// Recipes of another project, which commands without `--recipes` would be torn between.
fn other_project(project: &ProjectName) -> Option<String> {
    let own = Path::new("recipes").join(project.as_str());
    let root = Path::new("recipes");
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders = entries.chain([root.to_owned()]);
    let other = folders.find(|folder| *folder != own && folder.join("project.toml").is_file())?;
    Some(other.display().to_string())
}

/// A repository that was there before may not know that private keys are none of its business.
fn remind(context: &Context<'_>) {
    let text = std::fs::read_to_string(IGNORE).unwrap_or_default();
    if !text.lines().any(|line| line.trim().trim_start_matches('/') == PRIVATE_KEYS.trim_start_matches('/')) {
        context
            .screen
            .warn(&format!("add `{PRIVATE_KEYS}` to {IGNORE}, so that no private key is ever committed"));
    }
}
