//! What a builder says of itself, for those who only want to know.

use super::BuildError;
use super::capabilities::Gives;
use super::transport::{Builder, connect};

/// A builder that answered, in words.
pub async fn survey(builder: &Builder) -> Result<String, BuildError> {
    let line = connect(&builder.address).await?;
    let capabilities = line.capabilities;
    let gives = match capabilities.gives {
        Gives::Blobs => "gives blobs over the session",
        Gives::Engine => "gives images through the engine around it",
    };
    let platforms: Vec<String> = capabilities.platforms.iter().map(ToString::to_string).collect();
    capabilities.check(&builder.address)?;
    Ok(format!("BuildKit {}, {gives}, builds for {}", capabilities.shown(), platforms.join(" ")))
}
