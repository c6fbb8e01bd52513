#![doc = "placeholder"]
pub mod model;
