//! Where an image comes from, as SLSA v1 says it: <https://slsa.dev/spec/v1.0/provenance>.
//!
//! A function of the plan and of the files that were sent to the builder: who builds the same recipe with
//! the same lock and files states the same, on any machine and any day. So there is no time in it, and
//! the builder is imgforge itself: the BuildKit behind it does not change the image.

use serde_json::{Value, json};

use super::digest::Digest;
use super::lock::pins::Locking;
use super::plan::Plan;
use super::recipe::Base;

/// `cosign --type slsaprovenance1`.
pub const TYPE: &str = "https://slsa.dev/provenance/v1";

const BUILD_TYPE: &str = "https://imgforge.dev/build/v1";
const BUILDER: &str = "https://imgforge.dev/imgforge";

/// The predicate. `context` is the digest of all files that the build read.
#[must_use]
pub fn predicate(plan: &Plan, context: Digest) -> Value {
    let Plan { tag, tier, version, platform, args, .. } = plan;
    json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "image": tag, "tier": tier, "version": version, "platform": platform, "args": args,
                "recipe": plan.settings,
            },
            "internalParameters": {"epoch": plan.epoch, "locked": matches!(plan.lock, Locking::Pinned(_))},
            "resolvedDependencies": materials(plan, context),
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {"imgforge": env!("CARGO_PKG_VERSION")}},
        },
    })
}

/// What went into the image: the steps, the files, the base, and every download that is pinned.
fn materials(plan: &Plan, context: Digest) -> Vec<Value> {
    let named = |name: &str, digest: Digest| json!({"name": name, "digest": {"sha256": digest.hex()}});
    let mut found =
        vec![named("Dockerfile", Digest::of(plan.dockerfile.as_bytes())), named("context", context)];
    if let Some(Base::Image(base)) = &plan.settings.base
        && let Some((_, hex)) = base.reference.rsplit_once("@sha256:")
    {
        found.push(json!({"uri": format!("docker://{}", base.reference), "digest": {"sha256": hex}}));
    }
    if let Locking::Pinned(pins) = &plan.lock {
        let mut files: Vec<_> = pins.iter().flat_map(|pin| &pin.files).collect();
        files.sort();
        files.dedup();
        found.extend(files.into_iter().map(|file| {
            json!({
                "name": format!("{} {}", file.name, file.version), "uri": file.url,
                "digest": {"sha256": file.digest.hex()},
            })
        }));
    }
    found
}
