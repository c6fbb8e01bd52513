//! BuildKit's gateway, the client's side: imgforge is the frontend of its own build.
//!
//! The solve that exports is given nothing to build. It waits until we, over the same channel, have
//! asked the built-in Dockerfile frontend for the image and *return* it. What lies between the two is
//! ours: an image that was not returned is never exported.

use std::collections::HashMap;
use std::fmt;

use bollard_buildkit_proto::google;
use bollard_buildkit_proto::moby::buildkit::v1::CacheOptionsEntry;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::result::Result as Kind;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    CacheOptionsEntry as CacheImport, PingRequest, ResolveImageConfigRequest, Result as Built, ReturnRequest,
    SolveRequest,
};
use bollard_buildkit_proto::pb;
use prost::Message as _;
use serde::Deserialize;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::transport::MAX_MESSAGE;
use crate::model::digest::Digest;
use crate::model::image;
use crate::model::name::Platform;

/// Header that says which solve a call belongs to.
const BUILD: &str = "buildkit-controlapi-buildid";

/// The gateway of one solve.
#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) bridge: LlbBridgeClient<Channel>,
    build: MetadataValue<Ascii>,
}

/// What the Dockerfile frontend is given.
pub(super) struct Making {
    /// What it is asked for.
    pub(super) options: HashMap<String, String>,
    /// What it reads instead of its own inputs.
    pub(super) inputs: HashMap<String, pb::Definition>,
    /// Caches.
    pub(super) imports: Vec<CacheOptionsEntry>,
}

/// An image that BuildKit has made, every step done, and not exported.
pub(super) struct Made(Built);

impl Made {
    /// By what the gateway knows its filesystem.
    pub(super) fn reference(&self) -> Result<&str, Status> {
        match &self.0.result {
            Some(Kind::Ref(reference)) => Ok(&reference.id),
            Some(Kind::RefDeprecated(reference)) => Ok(reference),
            Some(Kind::Refs(_) | Kind::RefsDeprecated(_)) | None => {
                Err(Status::internal("BuildKit made another number of images than one"))
            }
        }
    }

    /// How it came about, where BuildKit tells.
    pub(super) fn definition(&self) -> Option<&pb::Definition> {
        if let Some(Kind::Ref(reference)) = &self.0.result { reference.def.as_ref() } else { None }
    }

    /// The image's configuration, still without its layers.
    pub(super) fn configuration(&self) -> &[u8] {
        self.0.metadata.get("containerimage.config").map_or(&[], Vec::as_slice)
    }
}

impl Gateway {
    /// Meets the solve with this identifier; BuildKit waits some seconds for it to appear.
    pub(super) async fn meet(channel: &Channel, build: &str) -> Result<Self, Status> {
        let build = build.parse().map_err(|_| Status::internal("an identifier that is no header"))?;
        let bridge = LlbBridgeClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let mut gateway = Self { bridge, build };
        gateway.bridge.ping(gateway.ask(PingRequest {})).await?;
        Ok(gateway)
    }

    /// Has the built-in Dockerfile frontend make the image.
    pub(super) async fn dockerfile(&mut self, making: Making) -> Result<Made, Status> {
        let imports = making.imports.into_iter();
        let request = self.ask(SolveRequest {
            frontend: "dockerfile.v0".to_owned(),
            frontend_opt: making.options,
            frontend_inputs: making.inputs,
            cache_imports: imports
                .map(|import| CacheImport { r#type: import.r#type, attrs: import.attrs })
                .collect(),
            allow_result_return: true,
            allow_result_array_ref: true,
            // Engines before BuildKit 0.9 do not know it, and run the steps when the image is read.
            evaluate: true,
            ..SolveRequest::default()
        });
        self.made(request).await
    }

    /// Has what a definition says made; what was made for this build already is there.
    pub(super) async fn defined(&mut self, definition: pb::Definition) -> Result<Made, Status> {
        let request = self.ask(SolveRequest {
            definition: Some(definition),
            allow_result_return: true,
            allow_result_array_ref: true,
            evaluate: true,
            ..SolveRequest::default()
        });
        self.made(request).await
    }

    async fn made(&mut self, request: Request<SolveRequest>) -> Result<Made, Status> {
        let made = self.bridge.solve(request).await?.into_inner().result;
        made.map(Made).ok_or_else(|| Status::internal("BuildKit made no result"))
    }

    /// The layers of an image that a build starts from, by their diffIDs. Nothing else says which of the
    /// built image's layers are not the build's.
    pub(super) async fn layers_of(
        &mut self,
        reference: &str,
        platform: &Platform,
    ) -> Result<Vec<Digest>, Status> {
        let request = self.ask(ResolveImageConfigRequest {
            r#ref: reference.to_owned(),
            platform: Some(pb::Platform {
                os: platform.os.clone(),
                architecture: platform.architecture.clone(),
                ..pb::Platform::default()
            }),
            resolve_mode: "default".to_owned(),
            log_name: format!("[internal] load configuration of {reference}"),
            ..ResolveImageConfigRequest::default()
        });
        let unknown = |why: &dyn fmt::Display| {
            Status::failed_precondition(format!("it does not say which layers `{reference}` has: {why}"))
        };
        let answer = self.bridge.resolve_image_config(request).await;
        let answer = answer.map_err(|status| unknown(&status.message()))?;
        image::diff_ids(&answer.into_inner().config).map_err(|error| unknown(&error))
    }

    /// Lets the image be exported.
    pub(super) async fn give(&mut self, Made(result): Made) -> Result<(), Status> {
        let answer = ReturnRequest { result: Some(result), error: None };
        self.bridge.r#return(self.ask(answer)).await.map(drop)
    }

    /// Ends the solve without an export, for this reason, which is also the answer.
    pub(super) async fn refuse(&mut self, reason: Status) -> Result<(), Status> {
        let error = google::rpc::Status {
            code: reason.code().into(),
            message: reason.message().to_owned(),
            details: Vec::new(),
        };
        let answer = ReturnRequest { result: None, error: Some(error) };
        // Where even that fails, the connection is gone, and the solve with it.
        let _ = self.bridge.r#return(self.ask(answer)).await;
        Err(reason)
    }

    pub(super) fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(BUILD, self.build.clone());
        request
    }
}

/// The Dockerfile's line that an error means: BuildKit since 0.9 attaches it (`errdefs.Source`).
pub(super) fn line(status: &Status) -> Option<u32> {
    #[derive(Deserialize)]
    struct Source {
        ranges: Vec<Range>,
    }
    #[derive(Deserialize)]
    struct Range {
        start: Position,
    }
    #[derive(Deserialize)]
    struct Position {
        line: u32,
    }
    let details = google::rpc::Status::decode(status.details()).ok()?.details;
    let source = details.iter().find(|detail| detail.type_url.ends_with("errdefs.Source+json"))?;
    let source: Source = serde_json::from_slice(&source.value).ok()?;
    source.ranges.first().map(|range| range.start.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_line() {
        let detail = google::protobuf::Any {
            type_url: "github.com/moby/buildkit/errdefs.Source+json".to_owned(),
            value: br#"{"info":{"filename":"Dockerfile"},"ranges":[{"start":{"line":7},"end":{"line":7}}]}"#
                .to_vec(),
        };
        let carried = google::rpc::Status { code: 2, message: String::new(), details: vec![detail] };
        let status = Status::with_details(tonic::Code::Unknown, "", carried.encode_to_vec().into());
        assert_eq!(line(&status), Some(7));
        assert_eq!(line(&Status::unknown("no details")), None);
    }
}
