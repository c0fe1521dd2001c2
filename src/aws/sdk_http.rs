//! HTTP for AWS's library, which fetches credentials: with the same proxies and trusted certificates as for Kinesis.
//!
//! Credentials are fetched about once an hour, so a connection serves one call and there is no pool. Metadata services
//! always bypass the proxy: see [`crate::aws::connect::proxy`].

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

/// Largest reply, in bytes. Credentials, the only thing that is fetched, take about 2 KiB.
const MAX_BODY_BYTES: usize = 256 << 10;
/// Largest head of a reply, in bytes, including interim replies.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Time limit of an exchange, after connecting, if its caller sets none. STS has 20 s for all its attempts.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for `aws-config` and STS that connects by `connector`.
pub(crate) fn http_client(connector: Connector) -> SharedHttpClient {
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

/// A retry does not help if the reply is too long.
fn unread(error: Box<dyn std::error::Error + Send + Sync>) -> ConnectorError {
    if error.is::<LengthLimitError>() {
        let text = format!("the reply is longer than {} KiB", MAX_BODY_BYTES >> 10);
        ConnectorError::other(text.into(), None)
    } else {
        ConnectorError::io(error)
    }
}
