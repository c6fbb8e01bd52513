//! From a recipe to a verified running node.
//!
//! # The map of the house
//!
//! Four floors, each looking only down. `tests/it/architecture.rs` reads the sources and fails when
//! a floor looks up.
//!
//! | floor | holds | must not |
//! |---|---|---|
//! | `src/cli`, in the binary | how people ask: a file for each subcommand | decide anything |
//! | [`flow`] | in which order: a story in each file | name third-party crates, print |
//! | [`step`] | what we do: a verb in each file | know other steps, print, read the clock or the environment |
//! | [`model`] | what things are | touch files, network, clock, threads, randomness |
//!
//! Beside the house stands `src/init`, a crate of its own: the program that runs in images. `build.rs`
//! compiles it, [`model::runtime`] holds its bytes and shares with it what its configuration means.
//!
//! A newcomer follows `imgforge release oracle` in three files: `src/main.rs`,
//! `src/cli/release.rs`, and [`flow::release`], which reads like a table of contents:
//!
//! 1. [`step::read`] parses recipes, [`model::plan::Plan::resolve`] decides everything;
//! 2. [`step::bootstrap`] makes the Debian base, [`step::gather`] collects the files,
//!    [`step::build`] asks BuildKit, and the image lands in the [`step::content`] store;
//! 3. [`step::pack`] writes the archive, whose tar [`model::archive`] derives from the image;
//! 4. [`step::sign`] seals the [`model::release`];
//! 5. [`step::upload`] puts it into a [`step::store`], [`step::download`] and [`step::check`] read
//!    it back as an operator will, and the [`model::channel`] moves last.
//!
//! The operator's side is [`flow::fetch`]: [`model::seal::Sealed::verify`] is the only door from
//! bytes to a document, [`step::check::archive`] the only way to a
//! [`step::check::Checked`] archive, and [`step::load`] takes nothing else, or what the check gives it
//! through a [`step::feed`] while it goes on.

pub mod flow;
pub mod model;
pub mod step;
