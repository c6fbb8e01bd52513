//! `imgforge fetch oci://HOST/PATH:TAG`

use std::path::Path;

use imgforge::flow;
use imgforge::flow::pull::Order;
use imgforge::model::report::Freshness;
use imgforge::model::size::Size;
use serde_json::json;

use super::Context;
use super::fetched::{go_on, in_docker, left, proof};
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
    proof(&mut words, &image.tag, pulled.loaded.as_ref());
    words.row("integrity", "OK");
    words.row("freshness", "unknown: a tag of a registry has no date, and a newer release may exist");
    words.row("disk", left(context, in_docker(image)));
    let key = key.map_or_else(String::new, |key| format!(" --key {}", super::fetch::quoted(key)));
    let again = format!("imgforge fetch --verify oci://{}{key}", order.target.text());
    words.row("next", go_on(&image.tag, pulled.loaded.as_ref(), &again));
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
