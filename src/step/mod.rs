//! What we do: one verb a file, one thing of the model in, the next one out.
//!
//! Steps do not know each other, do not print, and read neither the environment nor the clock.
//! What several of them need is a noun: [`content`], [`store`], [`engine`], [`progress`], [`atomic`],
//! [`http`], [`layers`], [`members`], [`stream`], [`web`], [`debs`].

pub mod advisories;
pub mod append;
pub mod assemble;
pub mod atomic;
pub mod audit;
pub mod beside;
pub mod bootstrap;
pub mod build;
pub mod cache;
pub mod check;
pub mod compare;
pub mod content;
pub mod debs;
pub mod deliver;
pub mod disk;
pub mod download;
pub mod engine;
pub mod examine;
pub mod feed;
pub mod gather;
pub mod http;
pub mod inspect;
pub mod inventory;
pub mod keyring;
pub mod layers;
pub mod list;
pub mod load;
pub mod members;
pub mod normalise;
pub mod obtain;
pub mod pack;
pub mod partial;
pub mod patch;
pub mod pin;
pub mod progress;
pub mod read;
pub mod receive;
pub mod registry;
pub mod remember;
pub mod resolve;
pub mod scaffold;
pub mod seeds;
pub mod sign;
pub mod store;
pub mod stream;
pub mod upload;
pub mod web;
