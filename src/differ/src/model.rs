//! The part of imgforge that says what a layer in normal form is, so that both have one definition.

#[path = "../../model/blocks.rs"]
pub(crate) mod blocks;
#[path = "../../model/layer/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "imgforge itself uses all of it")]
pub(crate) mod layer;
