//! How people ask: a file for each subcommand, and three for all of them.
//!
//! [`config`] is the only reader of the environment and the clock, [`report`] the only place where
//! errors become prose, [`screen`] the only place that prints.

pub(crate) mod attest;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod cat;
pub(crate) mod channel;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod delta;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod endpoints;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod fetched;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod lock;
pub(crate) mod man;
pub(crate) mod mirror;
pub(crate) mod password;
pub(crate) mod plan;
pub(crate) mod prune;
pub(crate) mod publisher;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod recipe;
pub(crate) mod release;
pub(crate) mod releases;
pub(crate) mod report;
pub(crate) mod rotate;
pub(crate) mod sbom;
pub(crate) mod scan;
pub(crate) mod screen;
pub(crate) mod sign;
pub(crate) mod trust;
pub(crate) mod verify;
pub(crate) mod words;
pub(crate) mod workshop;
pub(crate) mod yank;

use imgforge::step::store::{Address, Store};

use config::Config;
use report::Failure;
use screen::Screen;

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print one JSON object to stdout instead of words
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Write progress to this open file descriptor too, a JSON object a line
    #[arg(long, global = true, value_name = "N", value_parser = screen::descriptor)]
    pub(crate) progress_fd: Option<screen::Descriptor>,
}

/// What a command works with.
pub(crate) struct Context<'a> {
    pub(crate) config: Config,
    pub(crate) screen: &'a Screen,
}

impl<'a> Context<'a> {
    pub(crate) fn new(screen: &'a Screen) -> Result<Self, Failure> {
        Ok(Self { config: Config::read()?, screen })
    }

    /// Where releases live: where the command says, or the configuration, or a folder at hand.
    pub(crate) fn place(&self, asked: Option<&Address>) -> Result<Address, Failure> {
        if let Some(address) = asked {
            return Ok(address.clone());
        }
        match self.config.access()?.settings.address {
            Some(text) => Ok(self::address("address", &text)?),
            None => Ok(Address::Directory("dist/store".into())),
        }
    }

    /// Where operators read what is published, if that is another way to the same store.
    pub(crate) fn public(&self) -> Result<Option<Address>, Failure> {
        let text = self.config.access()?.settings.public_url;
        text.map(|text| address("public_url", &text)).transpose()
    }

    /// A store, with what this machine knows about reaching it.
    pub(crate) fn store(&self, address: &Address) -> Result<Store, Failure> {
        Ok(Store::open(address, &self.config.access()?)?)
    }

    /// What is behind a link that somebody sent.
    pub(crate) fn link(&self, url: &str) -> Result<Store, Failure> {
        Ok(Store::link_to(url, &self.config.access()?)?)
    }
}

fn address(name: &str, text: &str) -> Result<Address, Failure> {
    text.parse()
        .map_err(|error| Failure::usage(error, format!("change `{name}` below `[store]` in imgforge.toml")))
}
