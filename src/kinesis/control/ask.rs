//! Asks Kinesis something other than to store records.

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use crate::kinesis::client::{Operation, Transport, TransportError};
use crate::kinesis::reply::Response;
use crate::kinesis::verdict::{Verdict, verdict};

/// Sends a request, and once more with other credentials if they were refused.
pub(super) async fn ask<T: Transport>(
    transport: &T,
    operation: Operation,
    request: &Value,
) -> Result<Response, TransportError> {
    let body = Bytes::from(request.to_string());
    let sent_at = Instant::now();
    let answer = transport.send(operation, body.clone()).await;
    match verdict(&answer, 0) {
        Verdict::Unauthorized { server_time, .. } if transport.renew(sent_at, server_time) => {
            transport.send(operation, body).await
        }
        _ => answer,
    }
}
