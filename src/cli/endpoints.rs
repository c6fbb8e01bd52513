//! Which engine and which builders a command means: options before environment before files.

use imgforge::model::builder::Settings;
use imgforge::model::words::quoted;
use imgforge::step::build::Builder;
use imgforge::step::engine::Address;
use imgforge::step::engine::address::Credentials;

use super::config::Endpoints;
use super::report::Failure;

const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";

impl Endpoints {
    /// The Docker Engine. Only commands that need one look whether the address is good.
    pub(crate) fn engine(&self) -> Result<Address, Failure> {
        let text = self.docker.as_deref().unwrap_or(DEFAULT_ENGINE);
        let address = Address::engine(text).map_err(|error| Failure::environment("DOCKER_HOST", error))?;
        Ok(address.with_tls(self.docker_tls.clone()))
    }

    /// What may build, the preferred first.
    pub(crate) fn builders(&self, asked: Option<&str>) -> Result<Vec<Builder>, Failure> {
        if let Some(asked) = asked {
            return Ok(vec![self.asked(asked)?]);
        }
        if self.buildkit.is_some() {
            return self.named();
        }
        let mut builders = self.named()?;
        builders.push(Builder::at(self.engine()?));
        if self.docker.is_none() {
            // The `docker` command may know another way, by the context that is chosen there.
            builders.push(Builder::at(Address::docker_context()));
        }
        Ok(builders)
    }

    /// The builders that the environment names, else those of the configuration.
    pub(crate) fn named(&self) -> Result<Vec<Builder>, Failure> {
        if let Some(text) = &self.buildkit {
            let address =
                Address::builder(text).map_err(|error| Failure::environment("BUILDKIT_HOST", error))?;
            return Ok(vec![Builder::at(address.with_tls(self.buildkit_tls.clone()))]);
        }
        self.configuration()?.builders.iter().map(|(name, settings)| named(name, settings)).collect()
    }

    fn asked(&self, asked: &str) -> Result<Builder, Failure> {
        if asked.contains("://") {
            let address = Address::builder(asked)
                .map_err(|error| Failure::usage(error, "`imgforge build --help` shows the forms"))?;
            return Ok(Builder::at(address.with_tls(self.buildkit_tls.clone())));
        }
        let configured = self.configuration()?.builders;
        match configured.get(asked) {
            Some(settings) => named(asked, settings),
            None if configured.is_empty() => Err(Failure::usage(
                format!("there is no builder `{asked}`: no `imgforge.toml` names any"),
                format!(
                    "write `[builders.{asked}]` with an `endpoint` into `imgforge.toml`, or give an address"
                ),
            )),
            None => Err(Failure::usage(
                format!("there is no builder `{asked}`; `imgforge.toml` names {}", quoted(configured.keys())),
                "choose one of them, or give an address",
            )),
        }
    }
}

fn named(name: &str, settings: &Settings) -> Result<Builder, Failure> {
    let address = Address::builder(&settings.endpoint).map_err(|error| {
        Failure::usage(format!("builder `{name}`: {error}"), "change its `endpoint` in `imgforge.toml`")
    })?;
    let tls = settings.ca.clone().map(|ca| Credentials {
        ca,
        client: settings.cert.clone().zip(settings.key.clone()),
        server_name: settings.server_name.clone(),
    });
    if tls.is_some() && !matches!(address, Address::Tcp { .. }) {
        return Err(Failure::usage(
            format!("builder `{name}` has certificates, and `{address}` has no TLS"),
            "use `tcp://host:port` as its `endpoint`, or leave `ca`, `cert` and `key` out",
        ));
    }
    Ok(Builder {
        address: address.with_tls(tls),
        name: Some(name.to_owned()),
        platforms: settings.platforms.clone(),
    })
}
