//! The S3 client: which server, who we are, and our own HTTP client under it.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::ConnectorError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};

use crate::model::storage::is_r2;
use crate::step::http::{self, Purpose, SILENCE};
use crate::step::store::Address;
use crate::step::store::access::{Access, OpenError};

/// Silence in a download after which it counts as stalled.
const STALLED: Duration = Duration::from_secs(30);

/// Tries for one request, with full jitter between them.
const TRIES: u32 = 5;

/// A client for the buckets of one server.
pub(super) fn client(address: &Address, access: &Access) -> Result<Client, OpenError> {
    let Some(key) = &access.credentials else {
        return Err(OpenError::NoCredentials(address.clone()));
    };
    let token = key.token.as_ref().map(|token| token.to_string());
    let endpoint = access.settings.server()?;
    if let Some(text) = endpoint.as_ref().filter(|text| !is_url(text)) {
        return Err(OpenError::Endpoint(text.clone()));
    }
    let default = if endpoint.as_deref().is_some_and(is_r2) { "auto" } else { "us-east-1" };
    let region = access.settings.region.clone().unwrap_or_else(|| default.to_owned());
    let path_style = access.settings.path_style.unwrap_or(endpoint.is_some());
    let client = http::client(Purpose::Signed, access.ca_bundle.as_deref())?;
    let connector = SharedHttpConnector::new(Connector(client));
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .credentials_provider(Credentials::new(&key.id, key.secret.as_str(), token, None, "imgforge"))
        .region(Region::new(region))
        .force_path_style(path_style)
        .http_client(shared(connector))
        // R2 does not take the checksums that newer clients add: a part has its MD5 instead.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
        // A long upload on a bad line needs many tries in all; each request still has only its few.
        .retry_partition(RetryPartition::custom("imgforge").token_bucket(TokenBucket::unlimited()).build())
        // The HTTP client knows how long to wait for a connection and in silence.
        .timeout_config(TimeoutConfig::disabled())
        // On uploads it takes a slow line for a dead one.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().upload_enabled(false).grace_period(STALLED).build(),
        );
    config.set_endpoint_url(endpoint);
    Ok(Client::from_conf(config.build()))
}

fn shared(connector: SharedHttpConnector) -> SharedHttpClient {
    http_client_fn(move |_, _| connector.clone())
}

fn is_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

/// Our HTTP client, as the S3 client calls it.
#[derive(Debug)]
struct Connector(reqwest::Client);

/// Bytes of a body for which an answer may be waited a second longer: slower lines publish nothing.
const SLOWEST: u64 = 16 << 10;

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let length = request.body().content_length().unwrap_or(0);
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap))
                .map_err(|error| ConnectorError::user(error.into()))?;
            let patience = SILENCE + Duration::from_secs(length / SLOWEST);
            let answer = tokio::time::timeout(patience, client.execute(request))
                .await
                .map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?
                .map_err(|error| ConnectorError::io(error.into()))?;
            let answer: hyper::Response<reqwest::Body> = answer.into();
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
