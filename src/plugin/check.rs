//! The check at startup: whether records can be put.

use std::time::Duration;

use crate::config::{Check, OnFailure};
use crate::error::ConfigIssue;
use crate::kinesis::client::Transport;
use crate::kinesis::control::dry_run::{DryRun, dry_run};
use crate::kinesis::stream::Stream;
use crate::log::{Level, Logger, duration};

/// Longest time to wait for the answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Finds out whether records can be put into `stream`, if configured. Logs the answer if there is one.
///
/// # Errors
/// They cannot, and that shall prevent the start.
pub(super) async fn check<T: Transport>(
    transport: &T,
    stream: &Stream,
    destination: &str,
    Check { on_failure, custom_endpoint }: Check,
    is_of_aws: bool,
    log: &Logger,
) -> Result<(), ConfigIssue> {
    let Some(on_failure) = on_failure else { return Ok(()) };
    if !is_of_aws && !custom_endpoint {
        log.write(
            Level::Info,
            || "check: not made, because the endpoint is not of AWS and check_custom_endpoint is off",
        );
        return Ok(());
    }
    let answer = tokio::time::timeout(TIMEOUT, dry_run(transport, stream)).await;
    let answer = answer.unwrap_or_else(|_| DryRun::Unknown(format!("no reply within {}", duration(TIMEOUT))));
    match answer {
        DryRun::Passed => log.write(Level::Info, || format!("check: records can be put into {destination}")),
        DryRun::Stored => {
            log.write(Level::Warn, || format!("check: {destination} does not know DryRun and has stored a record"))
        }
        DryRun::Unknown(reason) => log.write(Level::Warn, || {
            format!("check: it is unknown whether records can be put into {destination}: {reason}")
        }),
        DryRun::Failed { reason, advice } => {
            let text = format!("cannot put records into {destination}: {reason}; {advice}");
            match on_failure {
                OnFailure::Warn => log.write(Level::Warn, || format!("check: {text}")),
                OnFailure::Fail => return Err(ConfigIssue::new("check", text)),
            }
        }
    }
    Ok(())
}
