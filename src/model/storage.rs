//! What a person or a project sets about its store, in `imgforge.toml`.

use serde::Deserialize;

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where releases live, as in `--store`.
    pub address: Option<String>,
    /// The server of an `s3://` store.
    pub endpoint: Option<String>,
    /// Its region; absent: `auto` for R2, `us-east-1` for others.
    pub region: Option<String>,
    /// Whether the bucket is named in the path; absent: yes for servers that are named.
    pub path_style: Option<bool>,
    /// Where an R2 bucket is kept by law; such buckets answer only there.
    pub jurisdiction: Option<Jurisdiction>,
    /// Where operators read what is published here: the address of the bucket's public domain.
    pub public_url: Option<String>,
}

/// R2's jurisdictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jurisdiction {
    /// The European Union.
    Eu,
    /// The government of the United States: `FedRAMP`.
    Fedramp,
}

const R2: &str = ".r2.cloudflarestorage.com";

impl Settings {
    /// What is set here, and for the rest what is set there.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            address: self.address.or(other.address),
            endpoint: self.endpoint.or(other.endpoint),
            region: self.region.or(other.region),
            path_style: self.path_style.or(other.path_style),
            jurisdiction: self.jurisdiction.or(other.jurisdiction),
            public_url: self.public_url.or(other.public_url),
        }
    }

    /// The server, in its jurisdiction; `Err` when only R2 has what is asked for.
    pub fn server(&self) -> Result<Option<String>, NotR2> {
        let Some(jurisdiction) = self.jurisdiction else {
            return Ok(self.endpoint.clone());
        };
        let name = match jurisdiction {
            Jurisdiction::Eu => ".eu",
            Jurisdiction::Fedramp => ".fedramp",
        };
        let endpoint = self.endpoint.as_deref().unwrap_or_default().trim_end_matches('/');
        match endpoint.strip_suffix(R2) {
            Some(account) if account.ends_with(name) => Ok(Some(endpoint.to_owned())),
            Some(account) => Ok(Some(format!("{account}{name}{R2}"))),
            None => Err(NotR2),
        }
    }
}

/// A jurisdiction without R2.
#[derive(Debug, thiserror::Error)]
#[error("`jurisdiction` needs an R2 endpoint, `https://<ACCOUNT>{R2}`")]
pub struct NotR2;

/// Whether a server is R2.
#[must_use]
pub fn is_r2(endpoint: &str) -> bool {
    endpoint.trim_end_matches('/').ends_with(R2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jurisdiction_is_part_of_the_servers_name() {
        let settings = |endpoint: &str| Settings {
            endpoint: Some(endpoint.to_owned()),
            jurisdiction: Some(Jurisdiction::Eu),
            ..Settings::default()
        };
        let eu = "https://abc.eu.r2.cloudflarestorage.com";
        for written in ["https://abc.r2.cloudflarestorage.com/", eu] {
            assert_eq!(settings(written).server().unwrap().unwrap(), eu);
        }
        assert!(settings("https://s3.example").server().is_err());
    }
}
