//! What `imgforge fetch` says when it is done: a row for each thing that a person may want to know.

use std::fmt::Write as _;

use imgforge::flow::fetch::Fetched;
use imgforge::flow::obtain::Origin;
use imgforge::model::channel::Freshness;
use imgforge::model::report::Freshness as Word;
use imgforge::model::size::Size;
use imgforge::step::disk;
use imgforge::step::load::Own;
use serde_json::json;

use super::Context;
use super::words::Words;

/// What was fetched, where from, and how far it is proven; `again` is how it is fetched once more.
pub(crate) fn show(context: &Context<'_>, fetched: &Fetched, again: &str) {
    let (release, archive, origin) = (&fetched.release, &fetched.archive, fetched.origin);
    let mut words = Words::default();
    if let Some(channel) = &fetched.channel {
        words.channel(&channel.0);
    }
    words.release(release);
    if fetched.trust > 0 {
        words.row("trust", format!("document {}, which the pinned key leads to", fetched.trust));
    }
    words.row("archive", format!("{}  every byte matches", fetched.path.display()));
    words.row("verified", fetched.tally);
    match origin {
        Origin { fetched: 0, .. } => {}
        Origin { kept: 0, made: 0, fetched, .. } => {
            words.row("transfer", format!("{} downloaded", Size(fetched)));
        }
        Origin { size, kept, made, fetched } => {
            let made = if made == 0 { String::new() } else { format!(", {} made with a patch", Size(made)) };
            let (fetched, size, kept) = (Size(fetched), Size(size), Size(kept));
            words.row("transfer", format!("{fetched} downloaded of {size}, {kept} were here{made}"));
        }
    }
    match &fetched.loaded {
        Some(loaded) => words
            .row("image", format!("{}  {}", archive.image.tag, loaded.id))
            .row("proof", "Docker has this image: its ID, layers and platform are the signed ones;")
            .row("", said(loaded.own)),
        None if fetched.is_loaded => words
            .row("image", &archive.image.tag)
            .row("proof", "not asked for: `--verify` also asks Docker what it has"),
        None => words.row("image", format!("{}  not loaded", archive.image.tag)),
    };
    words.row("integrity", "OK");
    let (fresh, freshness) = match (&fetched.channel, &fetched.currency) {
        (Some((_, Freshness::Fresh)), _) => ("OK".to_owned(), Word::Fresh),
        (Some((_, Freshness::Stale(since))), _) => {
            (format!("stale since {since}, accepted with `--max-age`"), Word::Stale)
        }
        (None, Some(currency)) => {
            let (said, freshness, _) = super::verify::currency(currency);
            (said, freshness)
        }
        (None, None) => ("not asked for: a pinned version".to_owned(), Word::Unknown),
    };
    words.row("freshness", fresh);
    words.row("disk", room(context, fetched)).row("next", next(fetched, again));
    context.screen.result(words.text(), &json!({
            "project": release.project, "version": release.version, "tier": archive.tier,
            "signer": release.signer(), "channel": fetched.channel.as_ref().map(|(channel, _)| json!(**channel)),
            "file": fetched.path, "archive": **archive, "integrity": "ok",
            "verified": fetched.tally, "freshness": freshness, "trust": fetched.trust,
            "transfer": {"size": origin.size, "kept": origin.kept, "made": origin.made, "fetched": origin.fetched},
            "loaded": fetched.loaded.as_ref().map(|loaded| json!({"id": loaded.id})),
        }));
}

/// What a container of the image showed.
pub(crate) fn said(own: Own) -> &'static str {
    match own {
        Own::Check => "a container of it ran the image's own check without a network, and was removed",
        Own::Nothing => "a container was created from it and removed",
    }
}

/// What was taken, and what is left.
fn room(context: &Context<'_>, fetched: &Fetched) -> String {
    let cache = &context.config.cache;
    let place = if fetched.path.starts_with(cache) { " in the cache" } else { "" };
    let mut taken = format!("{}{place}", Size(fetched.origin.size));
    if fetched.is_loaded {
        let layers = fetched.archive.image.unique_layers().iter().map(|layer| layer.size).sum();
        // Writing to a string cannot fail.
        let _ = write!(taken, ", at most {} in Docker", Size(layers));
    }
    match disk::free(cache) {
        Ok(free) => format!("{taken}, {} free", Size(free)),
        Err(_) => taken,
    }
}

/// What to type next.
fn next(fetched: &Fetched, again: &str) -> String {
    let tag = &fetched.archive.image.tag;
    match fetched.loaded.as_ref().map(|loaded| loaded.own) {
        Some(Own::Check) => {
            format!("docker run --rm {tag}  # says which settings it misses; nothing was started")
        }
        Some(Own::Nothing) => format!("docker run --rm {tag}  # nothing was started"),
        None if fetched.is_loaded => format!("{again}  # asks Docker what it has"),
        None => format!("{again}  # gives it to Docker, and asks Docker what it has"),
    }
}
