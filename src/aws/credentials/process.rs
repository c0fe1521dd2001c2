//! A program of the user's that prints credentials
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>).
//!
//! AWS's library can run one too, but it can neither kill it nor limit its output, and lets it inherit every file of
//! the host.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use chrono::DateTime;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;

use crate::aws::shortage::explained;
use crate::system::{end_group, isolate};

/// Credentials take about 2 KiB, with a long token.
const MAX_OUTPUT_BYTES: usize = 64 << 10;
/// How much of its stderr is kept, and the most that it may print there.
const KEPT_WORDS_BYTES: usize = 16 << 10;
const MAX_WORDS_BYTES: usize = 1 << 20;

/// How often to check whether a program that has closed its outputs has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// How long to wait for a killed program, so that it does not remain a zombie.
const KILL_GRACE: Duration = Duration::from_millis(100);

/// Why a program gave no credentials.
#[derive(Debug)]
pub(super) enum ProcessError {
    /// It does not start, or nothing is known of its end.
    CannotRun(io::Error),
    /// Its output cannot be read.
    CannotRead(io::Error),
    /// It printed more than this many bytes.
    TooMuch { what: &'static str, most: usize },
    /// It failed, and printed this to stderr.
    Ended(ExitStatus, String),
    /// What it printed is not as it should be.
    Unparsable(ParseError),
}

/// What is wrong with the credentials that a program printed. Quotes none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ParseError {
    NotJson { line: usize, column: usize },
    NotAnObject,
    OtherVersion,
    Missing(&'static str),
    NotAString(&'static str),
    Expiration(chrono::ParseError),
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProcessError::CannotRun(error) => write!(f, "the process cannot be run: {}", explained(error)),
            ProcessError::CannotRead(error) => write!(f, "the process cannot be read: {error}"),
            ProcessError::TooMuch { what, most } => write!(f, "{what} {} KiB", most >> 10),
            ProcessError::Ended(status, words) => write!(f, "the process ended with {status}: {words}"),
            ProcessError::Unparsable(error) => write!(f, "the process printed no valid credentials: {error}"),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::NotJson { line, column } => write!(f, "it is not JSON at line {line}, column {column}"),
            ParseError::NotAnObject => f.write_str("it is not a JSON object"),
            ParseError::OtherVersion => f.write_str("Version is not 1"),
            ParseError::Missing(name) => write!(f, "{name} is missing"),
            ParseError::NotAString(name) => write!(f, "{name} is not a string"),
            ParseError::Expiration(error) => write!(f, "Expiration: {error}"),
        }
    }
}

impl Error for ProcessError {}

impl Error for ParseError {}

/// Runs `command` in a shell and reads what it prints. Dropping the future kills the program, with what it started.
/// `account` is the account to assume if the program names none.
pub(super) async fn credentials(command: &str, account: Option<String>) -> Result<Credentials, ProcessError> {
    let (status, output, words) = run(command).await?;
    if !status.success() {
        let words = String::from_utf8_lossy(&words);
        return Err(ProcessError::Ended(status, words.trim().to_owned()));
    }
    parse(&output, account).map_err(ProcessError::Unparsable)
}

async fn run(command: &str) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), ProcessError> {
    let mut program = Program::start(command).map_err(ProcessError::CannotRun)?;
    let (output, words) = program.pipes().map_err(ProcessError::CannotRun)?;
    let (output, words) = tokio::try_join!(
        read(output, MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES, "the process printed more than"),
        read(words, KEPT_WORDS_BYTES, MAX_WORDS_BYTES, "the process printed to stderr more than"),
    )?;
    loop {
        if let Some(status) = program.check().map_err(ProcessError::CannotRun)? {
            return Ok((status, output, words));
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Reads to the end, keeps the first `kept` bytes and fails beyond `most`.
async fn read(
    mut from: impl AsyncRead + Unpin,
    kept: usize,
    most: usize,
    what: &'static str,
) -> Result<Vec<u8>, ProcessError> {
    let (mut all, mut piece, mut length) = (Vec::new(), vec![0; 8 << 10], 0);
    loop {
        let read = from.read(&mut piece).await.map_err(ProcessError::CannotRead)?;
        if read == 0 {
            return Ok(all);
        }
        length += read;
        if length > most {
            return Err(ProcessError::TooMuch { what, most });
        }
        let room = kept.saturating_sub(all.len()).min(read);
        all.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
}

/// A running program, killed on drop.
struct Program {
    child: Child,
    has_ended: bool,
}

impl Program {
    fn start(command: &str) -> io::Result<Program> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Program { child: isolate(&mut shell).spawn()?, has_ended: false })
    }

    fn pipes(&mut self) -> io::Result<(Receiver, Receiver)> {
        let output = self.child.stdout.take().map(|output: ChildStdout| Receiver::from_owned_fd(output.into()));
        let words = self.child.stderr.take().map(|words: ChildStderr| Receiver::from_owned_fd(words.into()));
        let missing = || io::Error::other("it has no output");
        Ok((output.ok_or_else(missing)??, words.ok_or_else(missing)??))
    }

    fn check(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait();
        // After an error too: something else has waited for it, and its pid may be reused.
        self.has_ended = !matches!(status, Ok(None));
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        end_group(&self.child);
        for _ in 0..KILL_GRACE.as_millis() {
            if !matches!(self.check(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Reads credentials from JSON. As in AWS's libraries, names may be in any case. No error quotes any of it.
fn parse(output: &[u8], account: Option<String>) -> Result<Credentials, ParseError> {
    let object: Map<String, Value> = serde_json::from_slice(output).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ParseError::NotAnObject,
        _ => ParseError::NotJson { line: error.line(), column: error.column() },
    })?;
    let find = |name: &str| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    match find("Version").map(Value::as_i64) {
        Some(Some(1)) => {}
        None => return Err(ParseError::Missing("Version")),
        _ => return Err(ParseError::OtherVersion),
    }
    let text = |name: &'static str| match find(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(ParseError::NotAString(name)),
    };
    let needed = |name: &'static str| text(name)?.ok_or(ParseError::Missing(name));
    let expiry = text("Expiration")?.map(expiration).transpose()?;
    let mut credentials = Credentials::builder()
        .access_key_id(needed("AccessKeyId")?)
        .secret_access_key(needed("SecretAccessKey")?)
        .provider_name("process");
    credentials.set_session_token(text("SessionToken")?.map(str::to_owned));
    credentials.set_expiry(expiry);
    credentials.set_account_id(text("AccountId")?.map(str::to_owned).or(account).map(Into::into));
    Ok(credentials.build())
}

fn expiration(text: &str) -> Result<SystemTime, ParseError> {
    let time = DateTime::parse_from_rfc3339(text).map_err(ParseError::Expiration)?;
    Ok(time.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_with_names_in_any_case() {
        let all = br#"{"version":1,"ACCESSKEYID":"a","SecretAccessKey":"b","SessionToken":"c",
            "Expiration":"2026-05-02T18:36:00+00:00","AccountId":"111122223333","More":[{}]}"#;
        let all = parse(all, Some("4".to_owned())).unwrap();
        assert_eq!((all.access_key_id(), all.secret_access_key(), all.session_token()), ("a", "b", Some("c")));
        assert_eq!(all.expiry(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_777_746_960)));
        assert_eq!(all.account_id().unwrap().as_str(), "111122223333");
        let least =
            parse(br#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b","SessionToken":null}"#, None).unwrap();
        assert_eq!((least.session_token(), least.expiry()), (None, None));
    }

    #[test]
    fn an_error_says_what_is_wrong_and_quotes_nothing() {
        for (output, reason) in [
            ("S3cr3t", "it is not JSON at line 1, column 1"),
            (r#"["S3cr3t"]"#, "it is not a JSON object"),
            (r#"{"AccessKeyId":"S3cr3t","SecretAccessKey":"S3cr3t"}"#, "Version is missing"),
            (r#"{"Version":2,"AccessKeyId":"S3cr3t","SecretAccessKey":"S3cr3t"}"#, "Version is not 1"),
            (r#"{"Version":1,"SecretAccessKey":"S3cr3t"}"#, "AccessKeyId is missing"),
            (r#"{"Version":1,"AccessKeyId":"S3cr3t"}"#, "SecretAccessKey is missing"),
            (r#"{"Version":1,"AccessKeyId":["S3cr3t"],"SecretAccessKey":"S3cr3t"}"#, "AccessKeyId is not a string"),
            (
                r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b","Expiration":"S3cr3t"}"#,
                "Expiration: premature end of input",
            ),
        ] {
            assert_eq!(parse(output.as_bytes(), None).unwrap_err().to_string(), reason, "{output}");
        }
    }
}
