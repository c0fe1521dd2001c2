//! As much of the metadata services of instances and containers as credentials require.

use std::net::TcpListener;

use libtest_mimic::Failed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::relay::{Served, serve};
use super::stand_in::{KEY, SECRET};

/// Serves an instance's metadata and, under any other path, a container's, until dropped.
pub fn serve_metadata(bind: &str) -> Result<Served, Failed> {
    let listener = TcpListener::bind(bind).map_err(|error| format!("{bind}: {error}"))?;
    serve(listener, |mut client| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match path.strip_prefix("/latest/") {
            Some("api/token") => ("200 OK", "a token".to_owned()),
            Some("meta-data/iam/security-credentials/") => ("200 OK", "role".to_owned()),
            Some("meta-data/iam/security-credentials/role") | None => ("200 OK", credentials()),
            Some(_) => ("404 Not Found", String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await
    })
}

/// The session token in those credentials.
pub const TOKEN: &str = "a token of the session";

fn credentials() -> String {
    let expiration = "2099-01-01T00:00:00Z";
    serde_json::json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": expiration,
        "AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": TOKEN,
    })
    .to_string()
}
