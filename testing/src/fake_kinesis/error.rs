//! The service's errors, in AWS's words.

use std::borrow::Cow;

use super::ACCOUNT;

/// An error answer: an HTTP status, an exception's name and usually a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// The HTTP status: 400 for the caller's errors, 500 for the service's.
    pub status: u16,
    /// The member `__type`.
    pub code: Cow<'static, str>,
    /// The member `message`.
    pub message: Option<String>,
}

impl ServiceError {
    /// An error of the caller: status 400.
    pub fn client(code: &'static str, message: impl Into<String>) -> ServiceError {
        ServiceError { status: 400, code: Cow::Borrowed(code), message: Some(message.into()) }
    }

    /// The body could not be read. A syntax error has no message.
    pub fn serialization(message: Option<String>) -> ServiceError {
        ServiceError { status: 400, code: Cow::Borrowed("SerializationException"), message }
    }

    /// A stream that does not exist.
    pub fn no_such_stream(name: &str) -> ServiceError {
        ServiceError::client("ResourceNotFoundException", format!("Stream {name} under account {ACCOUNT} not found."))
    }

    /// A dry run that would have succeeded.
    pub fn dry_run() -> ServiceError {
        ServiceError::client(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun parameter was set to true.",
        )
    }

    /// The caller has no permission for an operation.
    pub fn denied(operation: &str, stream: &str) -> ServiceError {
        let user = format!("arn:aws:sts::{ACCOUNT}:assumed-role/shipper/session");
        let resource = format!("arn:aws:kinesis:eu-west-1:{ACCOUNT}:stream/{stream}");
        let message = format!(
            "User: {user} is not authorized to perform: kinesis:{operation} on resource: {resource} \
             because no identity-based policy allows the kinesis:{operation} action"
        );
        ServiceError::client("AccessDeniedException", message)
    }

    /// An operation that is not known.
    pub fn unknown_operation() -> ServiceError {
        ServiceError { status: 400, code: Cow::Borrowed("UnknownOperationException"), message: None }
    }

    /// No `Authorization` header.
    pub fn missing_token() -> ServiceError {
        ServiceError::client("MissingAuthenticationTokenException", "Missing Authentication Token")
    }

    /// The whole call is throttled.
    pub fn throttled() -> ServiceError {
        ServiceError::client("ThrottlingException", "Rate exceeded")
    }

    /// The service failed.
    pub fn internal_failure() -> ServiceError {
        ServiceError {
            status: 500,
            code: Cow::Borrowed("InternalFailure"),
            message: Some(
                "The request processing has failed because of an unknown error, exception or failure.".to_owned(),
            ),
        }
    }

    /// The name of the message's member: only `SerializationException` capitalizes it.
    pub fn message_member(&self) -> &'static str {
        match self.code.as_ref() {
            "SerializationException" => "Message",
            _ => "message",
        }
    }
}
