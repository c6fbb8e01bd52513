//! What `imgforge fetch` says when it is done: a row for each thing that a person may want to know.

use std::fmt::Write as _;

use imgforge::flow::fetch::Fetched;
use imgforge::flow::obtain::Origin;
use imgforge::model::channel::Freshness;
use imgforge::model::image::Image;
use imgforge::model::name::ImageTag;
use imgforge::model::report::Freshness as Word;
use imgforge::model::size::Size;
use imgforge::step::disk;
use imgforge::step::load::{Loaded, Own};
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
    if fetched.is_loaded {
        proof(&mut words, &archive.image.tag, fetched.loaded.as_ref());
    } else {
        words.row("image", format!("{}  not loaded", archive.image.tag));
    }
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

/// How far it is proven that Docker has an image that it was given.
pub(super) fn proof(words: &mut Words, tag: &ImageTag, loaded: Option<&Loaded>) {
    let Some(loaded) = loaded else {
        words.row("image", tag).row("proof", "not asked for: `--verify` also asks Docker what it has");
        return;
    };
    words
        .row("image", format!("{tag}  {}", loaded.id))
        .row("proof", "Docker has this image: its ID, layers and platform are the signed ones;")
        .row(
            "",
            match loaded.own {
                Own::Check => {
                    "a container of it ran the image's own check without a network, and was removed"
                }
                Own::Nothing => "a container was created from it and removed",
            },
        );
}

/// What was taken where, and what is left.
fn room(context: &Context<'_>, fetched: &Fetched) -> String {
    let place = if fetched.path.starts_with(&context.config.cache) { " in the cache" } else { "" };
    let mut taken = format!("{}{place}", Size(fetched.origin.size));
    if fetched.is_loaded {
        // Writing to a string cannot fail.
        let _ = write!(taken, ", {}", in_docker(&fetched.archive.image));
    }
    left(context, taken)
}

/// What an image takes in an engine that had none of it.
pub(super) fn in_docker(image: &Image) -> String {
    format!("at most {} in Docker", Size(image.unique_layers().iter().map(|layer| layer.size).sum()))
}

/// What was taken, and what is left.
pub(super) fn left(context: &Context<'_>, taken: String) -> String {
    match disk::free(&context.config.cache) {
        Ok(free) => format!("{taken}, {} free", Size(free)),
        Err(_) => taken,
    }
}

/// What to type next.
fn next(fetched: &Fetched, again: &str) -> String {
    if fetched.is_loaded {
        go_on(&fetched.archive.image.tag, fetched.loaded.as_ref(), again)
    } else {
        format!("{again}  # gives it to Docker, and asks Docker what it has")
    }
}

/// What to type next about an image that Docker was given.
pub(super) fn go_on(tag: &ImageTag, loaded: Option<&Loaded>, again: &str) -> String {
    match loaded.map(|loaded| loaded.own) {
        Some(Own::Check) => {
            format!("docker run --rm {tag}  # says which settings it misses; nothing was started")
        }
        Some(Own::Nothing) => format!("docker run --rm {tag}  # nothing was started"),
        None => format!("{again}  # asks Docker what it has"),
    }
}
