//! Connections for AWS's own library, which asks for credentials: the same proxies and the same trust as for Kinesis.
//!
//! Credentials are asked for once in an hour or so, so a connection serves one call and there is no pool. Metadata
//! services are never behind a proxy: see [`crate::kinesis::proxy`].

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
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::kinesis::connect::Connector;

/// A client for `aws-config` and STS whose connections `connector` opens.
pub fn http_client(connector: Connector) -> SharedHttpClient {
    http_client_fn(move |settings, _| {
        let connector = match settings.connect_timeout() {
            Some(limit) => connector.clone().with_connect_timeout(limit),
            None => connector.clone(),
        };
        SharedHttpConnector::new(OneCall { connector, read_timeout: settings.read_timeout() })
    })
}

#[derive(Clone)]
struct OneCall {
    connector: Connector,
    /// Longest time from the connection to the head of the reply.
    read_timeout: Option<Duration>,
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
        let limit = self.read_timeout.map(|limit| limit + self.connector.connect_timeout());
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(self.connector);
        let exchange = client.request(request);
        let reply = match limit {
            Some(limit) => tokio::time::timeout(limit, exchange).await.map_err(|_| {
                let text = format!("no reply within {limit:?}");
                ConnectorError::timeout(io::Error::new(io::ErrorKind::TimedOut, text).into())
            })?,
            None => exchange.await,
        };
        let reply = reply.map_err(|error| ConnectorError::io(error.into()))?;
        HttpResponse::try_from(reply.map(SdkBody::from_body_1_x))
            .map_err(|error| ConnectorError::other(error.into(), None))
    }
}
