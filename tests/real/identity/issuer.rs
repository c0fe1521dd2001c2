//! Who gives out credentials, whatever the way they take to the plugin, and the Kinesis that knows them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

use super::http::Reply;
use testing::fake_kinesis::{Credential, FakeKinesis, Settings};

/// One set of credentials that was given out.
#[derive(Clone, Debug)]
pub struct Issued {
    pub key: String,
    pub secret: String,
    pub token: String,
    pub expires: SystemTime,
}

impl Issued {
    /// Its end, as AWS writes it.
    pub fn expiration(&self) -> String {
        DateTime::<Utc>::from(self.expires).to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// Gives out numbered credentials, which only its own Kinesis accepts.
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
    /// What is answered instead of credentials.
    refusal: Option<(u16, String)>,
}

/// Looks like a secret access key.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYS3cr3t";
/// Looks like a session token.
const TOKEN: &str = "FwoGZXIvYXdzEBYaDHqa0APT0k3nSgE2FwoGZXIvYXdz";

impl Issuer {
    /// Credentials that live for `life`.
    pub fn new(life: Duration) -> Issuer {
        // Credentials are checked from the first one that is given out; until then nobody's are good.
        let nobody = vec![Credential::new("AKIANOBODY", "none")];
        let kinesis = FakeKinesis::start(Settings { credentials: nobody, ..Settings::default() });
        let state = State { life, issued: Vec::new(), refusal: None };
        Issuer { shared: Arc::new(Shared { kinesis, state: Mutex::new(state) }) }
    }

    pub fn kinesis(&self) -> &FakeKinesis {
        &self.shared.kinesis
    }

    /// New credentials. The older ones stay good until they expire.
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

    /// New credentials in the words of a service, or what it answers instead.
    pub fn answer(&self, words: impl Fn(&Issued) -> String) -> Reply {
        let refusal = self.shared.state.lock().unwrap().refusal.clone();
        match refusal {
            Some((status, body)) => Reply::Status(status, body),
            None => Reply::Status(200, words(&self.issue())),
        }
    }

    /// From now on this is answered.
    pub fn refuse(&self, status: u16, body: &str) {
        self.shared.state.lock().unwrap().refusal = Some((status, body.to_owned()));
    }

    /// From now on credentials are given out again.
    pub fn recover(&self) {
        self.shared.state.lock().unwrap().refusal = None;
    }

    /// How many were given out.
    pub fn count(&self) -> usize {
        self.shared.state.lock().unwrap().issued.len()
    }

    /// The keys that signed each request to Kinesis, in order.
    pub fn keys_used(&self) -> Vec<String> {
        self.kinesis().requests().iter().map(|request| key_of(&request.authorization)).collect()
    }
}

/// The access key's id in a header `Authorization`.
pub fn key_of(authorization: &str) -> String {
    let credential = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    credential.split('/').next().unwrap_or_default().to_owned()
}

/// The part that all secrets and tokens have, which no log line may hold.
pub fn is_leaked_in(text: &str) -> bool {
    ["S3cr3t", "T0k3n"].iter().any(|mark| text.contains(mark))
}
