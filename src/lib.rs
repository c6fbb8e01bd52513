#![doc = "placeholder"]
pub mod model;
pub mod flow;
pub mod step;
