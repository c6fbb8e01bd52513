//! `imgforge scan`

use std::path::Path;

use imgforge::flow;
use imgforge::flow::scan::{Question, Subject};
use imgforge::model::plan::Ask;
use imgforge::model::scan::gate::{Finding, Idle, Scan, Scanned, Standing, Terms, Why};
use imgforge::model::scan::severity::Severity;
use imgforge::model::time;
use imgforge::step::progress::Event;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::sbom::Wanted;
use super::words::Words;
use super::workshop::RecipeArgs;

/// Look for known vulnerabilities in images that were built, and refuse those that are too bad
///
/// Compares the packages of an image with data of osv.dev or of Debian's security tracker that you have
/// downloaded; nothing is fetched unless `--db` is an address. Ends with code 3 when a vulnerability is as bad
/// as `--fail-on` or worse, or nobody decided how bad it is, and imgforge.toml does not except it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Images that were built, and archives
    #[arg(required = true, value_name = "TIER[@V]|ARCHIVE")]
    images: Vec<String>,
    /// Data about vulnerabilities: a zip, a folder or a file of OSV records, the JSON of Debian's tracker, or
    /// an address of one of these. May be repeated [default: `db` below `[scan]` in imgforge.toml]
    #[arg(long, value_name = "FILE|URL")]
    db: Vec<String>,
    /// From which severity on a vulnerability stops an image: critical, high, medium or low [default:
    /// `fail-on` below `[scan]` in imgforge.toml, else high]
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    #[command(flatten)]
    recipes: RecipeArgs,
}

impl Args {
    pub(crate) async fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let settings = context.config.endpoints.configuration()?.scan;
        let threshold = settings.threshold();
        let data = if self.db.is_empty() { settings.db } else { self.db };
        if data.is_empty() {
            return Err(Failure::no_data());
        }
        let subjects = self.images.iter().map(|image| subject(image)).collect::<Result<Vec<_>, _>>()?;
        let tiers = subjects.iter().any(|subject| matches!(subject, Subject::Tier(..)));
        let question = Question {
            workshop: if tiers { Some(self.recipes.workshop(context)?) } else { None },
            content: context.config.cache.join("content"),
            subjects,
            data,
            downloads: context.config.downloads.clone(),
            terms: Terms {
                threshold: self.fail_on.unwrap_or(threshold),
                exceptions: &settings.except,
                now: context.config.now,
            },
        };
        let hear = |event: Event<'_>| context.screen.hear(event);
        let scan = flow::scan::scan(&question, &hear).await?;
        show(&scan, context)
    }
}

/// A file is an archive, all else names a tier.
fn subject(text: &str) -> Result<Subject, Failure> {
    if Path::new(text).is_file() || text.ends_with(".tar.gz") {
        return Ok(Subject::Archive(text.into()));
    }
    let wanted: Wanted = text.parse().map_err(|error| {
        Failure::usage(error, "name a tier, such as `oracle` or `oracle@1.4.0`, or the file of an archive")
    })?;
    Ok(Subject::Tier(wanted.tier, Box::new(Ask { version: wanted.version, ..Ask::default() })))
}

/// Prints a result; one that stops an image is a failure.
pub(crate) fn show(scan: &Scan, context: &Context<'_>) -> Result<(), Failure> {
    let mut words = Words::default();
    for image in &scan.images {
        one(&mut words, image);
    }
    for source in &scan.data {
        let age = source.newest.map_or_else(
            || "of unknown age".to_owned(),
            |newest| {
                format!("newest of {newest}, {} ago", time::words(context.config.now.duration_since(newest)))
            },
        );
        words.row("data", format!("{}  {} records, {age}", source.from, source.records));
    }
    for Idle { exception, why } in &scan.idle {
        let package = exception.package.as_ref().map_or_else(String::new, |name| format!(" of `{name}`"));
        let text = match why {
            Why::Expired => {
                format!("{}{package} was excepted until {}: it counts again", exception.id, exception.expires)
            }
            Why::Unused => {
                format!("{}{package} is excepted, and no image has it: remove the exception", exception.id)
            }
        };
        words.row(if *why == Why::Expired { "expired" } else { "unused" }, text);
    }
    match scan.failing().count() {
        0 => {
            context.screen.result(words.text(), &json!(scan));
            Ok(())
        }
        failing => {
            context.screen.words(words.text());
            Err(Failure::vulnerable(failing, scan.threshold).with_checks(json!(scan)))
        }
    }
}

fn one(words: &mut Words, image: &Scanned) {
    words.row("image", format!("{}  {}", image.tag, image.manifest));
    for Finding { found, standing } in &image.findings {
        let severity = found.severity.map_or_else(|| "unknown".to_owned(), |severity| severity.to_string());
        words.row(&severity, found);
        match standing {
            Standing::Excepted { reason, expires } => {
                words.row("", format!("  excepted until {expires}: {reason}"));
            }
            Standing::Fails | Standing::Below => {
                words.row("", format!("  {}", found.advice()));
            }
        }
    }
    let count = |wanted: fn(&Standing) -> bool| {
        image.findings.iter().filter(|finding| wanted(&finding.standing)).count()
    };
    let (fails, below) = (count(|one| *one == Standing::Fails), count(|one| *one == Standing::Below));
    let excepted = image.findings.len() - fails - below;
    words.row(
        "found",
        format!(
            "{fails} that stop the image, {below} that do not, {excepted} excepted, in {} packages",
            image.covered
        ),
    );
    for uncovered in &image.not_covered {
        let names: Vec<&str> = uncovered.packages.iter().map(String::as_str).collect();
        let ecosystem = json!(uncovered.ecosystem);
        let text =
            format!("{} {}: {}", names.len(), ecosystem.as_str().unwrap_or_default(), names.join(", "));
        words.row("uncovered", text);
    }
    for unread in &image.unread {
        words.row("unread", format!("/{}: {}", unread.path, unread.reason));
    }
}
