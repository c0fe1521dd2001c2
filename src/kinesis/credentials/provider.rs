//! The places where credentials are sought, and what each of them said.
//!
//! Every place is AWS's own code. The order is ours to walk, because the log is to name the place that had credentials,
//! and, when none had, each of them with its reason. Everything is built anew for each fetch: AWS's providers remember
//! files and addresses that they read once, and credentials that were corrected on disk are to be found.

use std::cell::RefCell;
use std::error::Error;
use std::time::Duration;

use aws_config::credential_process::CredentialProcessProvider;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, imds};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::{sts, with_causes};
use crate::config::{Identity, Role, Source};
use crate::environment::variable;
use crate::kinesis::endpoint::{Endpoint, Region};
use crate::redact::one_line;

/// Longest time of one call of STS or SSO, retries included. The metadata services have shorter ones of their own.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the role that Fargate's log router runs in is assumed for: what STS gives by default.
const POD_ROLE_DURATION: Duration = Duration::from_secs(3600);

const INSTANCE: &str = "instance";

/// Credentials, and what the log calls them.
#[derive(Clone, Debug)]
pub struct Found {
    /// The credentials.
    pub credentials: Credentials,
    /// Principal and place as far as they are known, behind the word "credentials": "from profile 'x'".
    pub name: String,
    /// The places that come before it and had none, with their reasons.
    pub passed_over: Option<String>,
}

/// What was tried in the course of one fetch, for the log.
#[derive(Debug, Default)]
pub struct Attempts {
    failed: RefCell<Vec<String>>,
    trying: RefCell<Option<String>>,
}

impl Attempts {
    /// `place` is being asked.
    pub fn begin(&self, place: &str) {
        self.trying.replace(Some(place.to_owned()));
    }

    /// The place that is being asked has nothing.
    pub fn fail(&self, reason: &str) {
        if let Some(place) = self.trying.take() {
            self.failed.borrow_mut().push(format!("{place}: {}", one_line(reason)));
        }
    }

    /// What was asked before had credentials, or another fetch begins. Returns each place that had none with its reason.
    pub fn clear(&self) -> Option<String> {
        self.trying.replace(None);
        Some(self.failed.take().join("; ")).filter(|reasons| !reasons.is_empty())
    }

    /// Each place with its reason.
    pub fn told(&self) -> String {
        let mut told = self.failed.borrow().clone();
        told.extend(self.trying.borrow().as_ref().map(|place| format!("{place}: no answer yet")));
        if told.is_empty() {
            "no credentials: there was no time".to_owned()
        } else {
            format!("no credentials: {}", told.join("; "))
        }
    }
}

/// What a fetch needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    source: Source,
    role: Option<Role>,
    metadata_attempts: u32,
    region: Region,
    http: SharedHttpClient,
    pub(super) sts_endpoint: Option<Endpoint>,
    pub(super) session_name: String,
}

impl Settings {
    /// `session_name` is for roles whose configuration names none.
    pub fn new(identity: Identity, region: Region, http: SharedHttpClient, session_name: String) -> Settings {
        let Identity { source, role, sts_endpoint, metadata_attempts } = identity;
        Settings { source, role, metadata_attempts, region, http, sts_endpoint, session_name }
    }

    /// Credentials as the configuration asks for them, or [`Attempts::told`]. May wait as long as a process of the user does.
    pub async fn fetch(&self, attempts: &Attempts) -> Result<Found, String> {
        attempts.clear();
        let mut found = self.first(attempts).await?;
        for role in self.pod_role().iter().chain(&self.role) {
            attempts.clear();
            attempts.begin(&format!("{} assumed with credentials {}", role.arn, found.name));
            found = sts::assume_role(self, role, &found).await.map_err(|reason| {
                attempts.fail(&reason);
                attempts.told()
            })?;
        }
        Ok(found)
    }

    async fn first(&self, attempts: &Attempts) -> Result<Found, String> {
        let found = match &self.source {
            Source::Keys(keys) => Some(named(keys.clone(), "the configuration")),
            Source::Profile(profile) => {
                let provider = self.profile_builder().profile_name(profile).build();
                ask(&format!("profile '{profile}'"), &provider, attempts).await.ok().flatten()
            }
            Source::Process(command) => {
                let provider = CredentialProcessProvider::new(command.0.clone());
                ask("process_credentials", &provider, attempts).await.ok().flatten()
            }
            Source::DefaultChain => self.chain(attempts).await.ok().flatten(),
        };
        found.ok_or_else(|| attempts.told())
    }

    /// AWS's default chain. A place that was configured and failed ends it: what comes behind would be somebody else.
    async fn chain(&self, attempts: &Attempts) -> Result<Option<Found>, Failed> {
        if let Some(found) = ask("environment", &EnvironmentVariableCredentialsProvider::new(), attempts).await? {
            return Ok(Some(found));
        }
        let profile = format!("profile '{}'", variable("AWS_PROFILE").as_deref().unwrap_or("default"));
        if let Some(found) = ask(&profile, &self.profile_builder().build(), attempts).await? {
            return Ok(Some(found));
        }
        if self.pod_role().is_none()
            && let Some(found) = self.web_identity(attempts).await?
        {
            return Ok(Some(found));
        }
        let container = EcsCredentialsProvider::builder().configure(&self.provider_config()).build();
        if let Some(found) = ask("container", &container, attempts).await? {
            return Ok(Some(found));
        }
        ask(INSTANCE, &self.instance(), attempts).await
    }

    async fn web_identity(&self, attempts: &Attempts) -> Result<Option<Found>, Failed> {
        attempts.begin("web identity");
        let failed = |reason: &str| {
            attempts.fail(reason);
            Failed
        };
        let Some(file) = variable("AWS_WEB_IDENTITY_TOKEN_FILE") else {
            attempts.fail("AWS_WEB_IDENTITY_TOKEN_FILE is not set");
            return Ok(None);
        };
        let role = variable("AWS_ROLE_ARN").ok_or_else(|| failed("AWS_ROLE_ARN is not set"))?;
        let session_name = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| self.session_name.clone());
        // Kubernetes writes a new one before the old one expires.
        let token = std::fs::read_to_string(&file).map_err(|error| failed(&format!("{file}: {error}")))?;
        match sts::assume_role_with_web_identity(self, &role, &session_name, token.trim()).await {
            Ok(found) => Ok(Some(Found { passed_over: attempts.clear(), ..found })),
            Err(reason) => Err(failed(&format!("{role}: {reason}"))),
        }
    }

    /// The role that EKS on Fargate has its log router assume, as Fluent Bit and AWS's Go plugin do, with the credentials of
    /// the machine.
    fn pod_role(&self) -> Option<Role> {
        let from_machine = matches!(self.source, Source::DefaultChain);
        let arn = variable("EKS_POD_EXECUTION_ROLE").filter(|_| from_machine)?;
        Some(Role { arn, external_id: None, session_name: None, policy: None, duration: POD_ROLE_DURATION })
    }

    fn profile_builder(&self) -> aws_config::profile::credentials::Builder {
        ProfileFileCredentialsProvider::builder()
            .configure(&self.provider_config())
            .with_custom_provider("Ec2InstanceMetadata", self.instance())
    }

    fn instance(&self) -> ImdsCredentialsProvider {
        let config = self.provider_config();
        let client = imds::Client::builder().configure(&config).max_attempts(self.metadata_attempts).build();
        ImdsCredentialsProvider::builder().configure(&config).imds_client(client).build()
    }

    /// What AWS's providers are built with.
    fn provider_config(&self) -> ProviderConfig {
        ProviderConfig::default()
            .with_region(Some(self.aws_region()))
            .with_http_client(self.http.clone())
            .with_timeout_config(timeouts())
    }

    /// What a client of STS is built with.
    pub(super) fn loader(&self) -> ConfigLoader {
        aws_config::defaults(BehaviorVersion::latest())
            .region(self.aws_region())
            .http_client(self.http.clone())
            .timeout_config(timeouts())
    }

    fn aws_region(&self) -> aws_types::region::Region {
        aws_types::region::Region::new(self.region.as_str().to_owned())
    }
}

/// A place that is configured and yet has no credentials; the reason is among the attempts.
struct Failed;

/// What `provider` yields, or `None` when it is not configured.
async fn ask(place: &str, provider: &impl ProvideCredentials, attempts: &Attempts) -> Result<Option<Found>, Failed> {
    attempts.begin(place);
    match provider.provide_credentials().await {
        Ok(credentials) => Ok(Some(Found { passed_over: attempts.clear(), ..named(credentials, place) })),
        Err(error) => {
            attempts.fail(&reason(place, &error));
            if matches!(error, CredentialsError::CredentialsNotLoaded(_)) { Ok(None) } else { Err(Failed) }
        }
    }
}

fn reason(place: &str, error: &CredentialsError) -> String {
    let is_configured = !matches!(error, CredentialsError::CredentialsNotLoaded(_));
    match error.source() {
        // Its text quotes a variable that is not UTF-8, which may be the secret.
        _ if place == "environment" && is_configured => "a variable is not UTF-8".to_owned(),
        Some(cause) if place == INSTANCE && cause.to_string().contains("could not communicate") => {
            let cause = with_causes(cause);
            format!("{cause} (from a container on EC2 the instance's metadata need a hop limit of 2)")
        }
        // It ends with the whole reply, spelled out.
        Some(cause) if place == INSTANCE => with_causes(cause).split(". Response {").take(1).collect(),
        Some(cause) => with_causes(cause),
        None if is_configured => error.to_string(),
        None => "not configured".to_owned(),
    }
}

fn named(credentials: Credentials, place: &str) -> Found {
    let account = credentials.account_id().map(|account| format!("of account {} ", one_line(account.as_str())));
    let name = format!("{}from {place}", account.unwrap_or_default());
    Found { credentials, name, passed_over: None }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT).build()
}
