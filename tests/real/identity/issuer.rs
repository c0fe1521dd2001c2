//! The issuer of credentials, however they reach the plugin, and the Kinesis that accepts them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

use super::http::Reply;
use testing::fake_kinesis::{Credential, FakeKinesis, Settings};

/// One set of issued credentials.
#[derive(Clone, Debug)]
pub struct Issued {
    pub key: String,
    pub secret: String,
    pub token: String,
    pub expires: SystemTime,
}

impl Issued {
    /// Its expiry, as AWS writes it.
    pub fn expiration(&self) -> String {
        DateTime::<Utc>::from(self.expires).to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// Issues numbered credentials, which only its own Kinesis accepts.
#[derive(Clone)]
pub struct Issuer {
    shared: Arc<Shared>,
}

struct Shared {
    kinesis: FakeKinesis,
    state: Mutex<State>,
}

struct State {
    life: Duration,
    issued: Vec<Issued>,
    /// The reply instead of credentials.
    refusal: Option<(u16, String)>,
}

/// Looks like a secret access key.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYS3cr3t";
/// Looks like a session token.
const TOKEN: &str = "FwoGZXIvYXdzEBYaDHqa0APT0k3nSgE2FwoGZXIvYXdz";

impl Issuer {
    /// Issues credentials that live for `life`.
    pub fn new(life: Duration) -> Issuer {
        // Credentials are checked from the first one issued; until then none are valid.
        let nobody = vec![Credential::new("AKIANOBODY", "none")];
        let kinesis = FakeKinesis::start(Settings { credentials: nobody, ..Settings::default() });
        let state = State { life, issued: Vec::new(), refusal: None };
        Issuer { shared: Arc::new(Shared { kinesis, state: Mutex::new(state) }) }
    }

    pub fn kinesis(&self) -> &FakeKinesis {
        &self.shared.kinesis
    }

    /// Issues new credentials. Older ones stay valid until they expire.
    pub fn issue(&self) -> Issued {
        let mut state = self.shared.state.lock().unwrap();
        let number = state.issued.len() + 1;
        let issued = Issued {
            key: format!("ASIAISSUED{number:06}"),
            secret: format!("{SECRET}{number:04}"),
            token: format!("{TOKEN}{number:04}"),
            expires: SystemTime::now() + state.life,
        };
        state.issued.push(issued.clone());
        let known = |issued: &Issued| Credential::new(&issued.key, &issued.secret).with_session_token(&issued.token);
        self.shared.kinesis.set_credentials(state.issued.iter().map(known).collect());
        issued
    }

    /// New credentials in a service's format, or its error.
    pub fn answer(&self, words: impl Fn(&Issued) -> String) -> Reply {
        let refusal = self.shared.state.lock().unwrap().refusal.clone();
        match refusal {
            Some((status, body)) => Reply::Status(status, body),
            None => Reply::Status(200, words(&self.issue())),
        }
    }

    /// From now on, gives this reply.
    pub fn refuse(&self, status: u16, body: &str) {
        self.shared.state.lock().unwrap().refusal = Some((status, body.to_owned()));
    }

    /// From now on, issues credentials again.
    pub fn recover(&self) {
        self.shared.state.lock().unwrap().refusal = None;
    }

    /// How many were issued.
    pub fn count(&self) -> usize {
        self.shared.state.lock().unwrap().issued.len()
    }

    /// The keys that signed each request to Kinesis, in order.
    pub fn keys_used(&self) -> Vec<String> {
        self.kinesis().requests().iter().map(|request| key_of(&request.authorization)).collect()
    }
}

/// The access key ID in an `Authorization` header.
pub fn key_of(authorization: &str) -> String {
    let credential = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    credential.split('/').next().unwrap_or_default().to_owned()
}

/// A part common to all secrets and tokens, which no log line may contain.
pub fn is_leaked_in(text: &str) -> bool {
    ["S3cr3t", "T0k3n"].iter().any(|mark| text.contains(mark))
}
