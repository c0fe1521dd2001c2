//! Connections for AWS's own library, which asks for credentials: the same proxies and the same trust as for Kinesis.
//!
//! Credentials are asked for once in an hour or so, so a connection serves one call and there is no pool. Metadata
//! services are never behind a proxy: see [`crate::aws::connect::proxy`].

use std::fmt;
use std::io;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::header::PROXY_AUTHORIZATION;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::aws::connect::Connector;
use crate::log::duration;

/// Largest reply that is read, in bytes: credentials take some 2 KiB, and nothing else is asked for.
const MAX_BODY_BYTES: usize = 256 << 10;
/// Largest head of a reply, including interim replies that arrive with it.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Longest time of an exchange whose caller sets none, beside the connection's. STS has 20 s for all its tries.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for `aws-config` and STS whose connections `connector` opens.
pub fn http_client(connector: Connector) -> SharedHttpClient {
    http_client_fn(move |settings, _| {
        let connector = match settings.connect_timeout() {
            Some(limit) => connector.clone().with_connect_timeout(limit),
            None => connector.clone(),
        };
        SharedHttpConnector::new(OneCall { connector, read_timeout: settings.read_timeout().unwrap_or(READ_TIMEOUT) })
    })
}

#[derive(Clone)]
struct OneCall {
    connector: Connector,
    /// Longest time from the connection to the end of the reply, even if parts of it keep arriving.
    read_timeout: Duration,
}

impl fmt::Debug for OneCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneCall").field("read_timeout", &self.read_timeout).finish_non_exhaustive()
    }
}

impl HttpConnector for OneCall {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().exchange(request))
    }
}

impl OneCall {
    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let mut request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        if let Some(authorization) = self.connector.proxy_authorization(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
        let limit = self.read_timeout + self.connector.connect_timeout();
        let mut client = Client::builder(TokioExecutor::new());
        let client = client.pool_max_idle_per_host(0).http1_max_buf_size(MAX_HEAD_BYTES).build(self.connector);
        let exchange = async {
            let reply = client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            let (head, body) = reply.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(unread)?;
            HttpResponse::try_from(http::Response::from_parts(head, SdkBody::from(body.to_bytes())))
                .map_err(|error| ConnectorError::other(error.into(), None))
        };
        tokio::time::timeout(limit, exchange).await.map_err(|_| {
            let text = format!("no reply within {}", duration(limit));
            ConnectorError::timeout(io::Error::new(io::ErrorKind::TimedOut, text).into())
        })?
    }
}

/// Another try would not help when the reply is too long.
fn unread(error: Box<dyn std::error::Error + Send + Sync>) -> ConnectorError {
    if error.is::<LengthLimitError>() {
        let text = format!("the reply is longer than {} KiB", MAX_BODY_BYTES >> 10);
        ConnectorError::other(text.into(), None)
    } else {
        ConnectorError::io(error)
    }
}
