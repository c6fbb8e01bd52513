//! `imgforge fetch oci://HOST/PATH:TAG`

use std::path::Path;

use imgforge::flow;
use imgforge::flow::pull::Order;
use imgforge::model::report::Freshness;
use imgforge::model::size::Size;
use imgforge::step::disk;
use imgforge::step::load::Own;
use serde_json::json;

use super::Context;
use super::report::Failure;
use super::words::Words;

/// Fetches an image of a registry, and says so; `key` is the file of a key that was named.
pub(crate) async fn run(order: &Order, key: Option<&Path>, context: &Context<'_>) -> Result<(), Failure> {
    let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
    let pulled = flow::pull::pull(order, &hear).await?;
    let image = &pulled.image;
    let digest = image.manifest.digest;
    let mut words = Words::default();
    words.row("registry", format!("{}  {digest}", order.target.text()));
    let what = if pulled.signed == digest { "the image" } else { "the index that names it" };
    words.row("signature", format!("of {what}, by key {}", pulled.signer));
    let (layers, bytes) = pulled.hashed;
    match layers {
        0 => words.row("verified", "the manifest; Docker has the image already"),
        1 => words.row("verified", format!("1 layer, {} unpacked", Size(bytes))),
        more => words.row("verified", format!("{more} layers, {} unpacked", Size(bytes))),
    };
    if pulled.fetched > 0 {
        words.row("transfer", format!("{} downloaded", Size(pulled.fetched)));
    }
    match &pulled.loaded {
        Some(loaded) => words
            .row("image", format!("{}  {}", image.tag, loaded.id))
            .row("proof", "Docker has this image: its ID, layers and platform are the signed ones;")
            .row("", super::fetched::said(loaded.own)),
        None => words
            .row("image", &image.tag)
            .row("proof", "not asked for: `--verify` also asks Docker what it has"),
    };
    words.row("integrity", "OK");
    words.row("freshness", "unknown: a tag of a registry has no date, and a newer release may exist");
    let taken = Size(image.unique_layers().iter().map(|layer| layer.size).sum());
    words.row(
        "disk",
        match disk::free(&context.config.cache) {
            Ok(free) => format!("at most {taken} in Docker, {} free", Size(free)),
            Err(_) => format!("at most {taken} in Docker"),
        },
    );
    let again = key.map_or_else(String::new, |key| format!(" --key {}", super::fetch::quoted(key)));
    words.row(
        "next",
        match pulled.loaded.as_ref().map(|loaded| loaded.own) {
            Some(Own::Check) => {
                format!("docker run --rm {}  # says which settings it misses; nothing was started", image.tag)
            }
            Some(Own::Nothing) => format!("docker run --rm {}  # nothing was started", image.tag),
            None => format!(
                "imgforge fetch --verify oci://{}{again}  # asks Docker what it has",
                order.target.text()
            ),
        },
    );
    context.screen.result(
        words.text(),
        &json!({
            "reference": order.target.text(), "pinned": order.target.at(&digest.to_string()),
            "project": image.tag.project(), "version": image.tag.version(), "tier": image.tag.tier(),
            "image": image, "signer": pulled.signer, "signed": pulled.signed, "integrity": "ok",
            "verified": {"layers": layers, "bytes": bytes}, "freshness": Freshness::Unknown,
            "transfer": {"fetched": pulled.fetched},
            "loaded": pulled.loaded.as_ref().map(|loaded| json!({"id": loaded.id})),
        }),
    );
    Ok(())
}
