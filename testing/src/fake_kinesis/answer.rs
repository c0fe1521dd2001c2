//! Answers of the service and of proxies in front of it.

use super::error::ServiceError;
use super::wire::Wire;

/// An answer before it is sent.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// See [`super::Stats::outcomes`].
    pub outcome: String,
}

impl Answer {
    /// An error of the service, in the caller's format.
    pub fn refusal(wire: Wire, error: ServiceError) -> Answer {
        Answer {
            status: error.status,
            content_type: wire.content_type(),
            body: wire.encode(&error),
            outcome: error.code.into_owned(),
        }
    }

    /// The service does not know this content type.
    pub fn unknown_content_type() -> Answer {
        Answer {
            status: 404,
            content_type: "application/xml",
            body: b"<UnknownOperationException/>\n".to_vec(),
            outcome: "UnknownOperationException".to_owned(),
        }
    }

    /// The front end has no back end: JSON, whatever the caller's format.
    pub fn unavailable() -> Answer {
        let body = r#"{"code":"ServiceUnavailable","message":"The request has failed due to a temporary failure of the server."}"#;
        Answer {
            status: 503,
            content_type: "application/json",
            body: body.into(),
            outcome: "ServiceUnavailable".to_owned(),
        }
    }

    /// A proxy cannot reach the service.
    pub fn bad_gateway() -> Answer {
        let body = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                    <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
        Answer { status: 502, content_type: "text/html", body: body.into(), outcome: "html_502".to_owned() }
    }

    /// The front end refuses to read such a large body.
    pub fn too_large() -> Answer {
        Answer { status: 413, ..Answer::none("too_large") }
    }

    /// No answer: its content is not sent.
    pub fn none(outcome: &str) -> Answer {
        Answer { status: 200, content_type: "text/plain", body: Vec::new(), outcome: outcome.to_owned() }
    }
}
