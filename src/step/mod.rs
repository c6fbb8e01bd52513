//! What we do: one verb a file, one thing of the model in, the next one out.
//!
//! Steps do not know each other, do not print, and read neither the environment nor the clock.
//! What several of them need is a noun: [`content`], [`store`], [`engine`], [`progress`], [`atomic`],
//! [`stream`], [`members`].

pub mod append;
pub mod assemble;
pub mod atomic;
pub mod bootstrap;
pub mod build;
pub mod check;
pub mod content;
pub mod download;
pub mod engine;
pub mod gather;
pub mod inventory;
pub mod keyring;
pub mod list;
pub mod load;
pub mod members;
pub mod normalise;
pub mod pack;
pub mod pin;
pub mod progress;
pub mod read;
pub mod remember;
pub mod sign;
pub mod store;
pub mod stream;
pub mod upload;
