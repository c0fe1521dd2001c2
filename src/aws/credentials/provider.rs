//! The places where credentials are sought.
//!
//! Nearly every place is AWS's own code; what may hang in it is done here first, or instead. We walk through the
//! places ourselves, so that the log can name the one that had credentials or, if none had, each with its reason. All
//! providers are rebuilt for each fetch: AWS's remember the files and addresses that they read once, and would miss a
//! correction on disk.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, imds};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use secrecy::ExposeSecret;

use super::found::{Attempts, Found, NoCredentials};
use super::process;
use super::profile::{Base, base, container_token_file, lines_with_credentials, lines_with_sts_endpoint};
use super::sts::Sts;
use crate::aws::blocking::Blocking;
use crate::aws::connect::reason::of_call;
use crate::aws::connect::resolver::Resolver;
use crate::aws::credentials::identity::{Identity, Role, Source};
use crate::aws::endpoint::Endpoint;
use crate::aws::files::{self, Unread};
use crate::aws::region::Region;
use crate::aws::shared_config::SharedFiles;
use crate::environment::variable;
use crate::error::with_causes;
use crate::redact::one_line;

/// Longest time of one call of STS or SSO, retries included. The metadata services have shorter ones of their own.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Lifetime of the role of Fargate's log router: the default of STS.
const POD_ROLE_DURATION: Duration = Duration::from_secs(3600);

const ENVIRONMENT: &str = "environment";
const CONTAINER: &str = "container";
const INSTANCE: &str = "instance";

/// What a fetch needs to know.
#[derive(Clone)]
pub(crate) struct Settings {
    source: Source,
    role: Option<Role>,
    metadata_attempts: u32,
    region: Region,
    http: SharedHttpClient,
    blocking: Blocking,
    resolver: Resolver,
    sts_endpoint: Option<Endpoint>,
    session_name: String,
}

impl Settings {
    /// `session_name` is for roles without a configured one.
    pub(crate) fn new(
        identity: Identity,
        region: Region,
        http: SharedHttpClient,
        blocking: Blocking,
        session_name: String,
    ) -> Settings {
        let Identity { source, role, sts_endpoint, metadata_attempts } = identity;
        let resolver = Resolver::new(blocking.clone());
        Settings { source, role, metadata_attempts, region, http, blocking, resolver, sts_endpoint, session_name }
    }

    /// Credentials as configured. Takes as long as the user's process may, if there is one.
    ///
    /// # Errors
    /// [`Attempts::summary`].
    pub(crate) async fn fetch(&self, attempts: &Attempts) -> Result<Found, NoCredentials> {
        attempts.clear();
        attempts.begin("AWS's shared files");
        let files = SharedFiles::read(&self.blocking).await.map_err(|reason| {
            attempts.fail(&reason.to_string());
            attempts.summary()
        })?;
        let mut found = self.first(&files, attempts).await?;
        for role in self.pod_role().iter().chain(&self.role) {
            attempts.clear();
            attempts.begin(&format!("{} assumed with credentials {}", role.arn, found.name));
            let session_name = role.session_name.as_ref().unwrap_or(&self.session_name);
            found = self.sts(&files).assume_role(role, session_name, &found).await.map_err(|reason| {
                attempts.fail(&reason.to_string());
                attempts.summary()
            })?;
        }
        Ok(found)
    }

    async fn first(&self, files: &SharedFiles, attempts: &Attempts) -> Result<Found, NoCredentials> {
        let found = match &self.source {
            Source::Keys(keys) => Some(named(keys.clone(), "the configuration")),
            Source::Profile(profile) => self.profile(Some(profile), files, attempts).await.ok().flatten(),
            Source::Process(command) => {
                attempts.begin("process_credentials");
                let printed = process::credentials(command.expose_secret(), None).await;
                printed
                    .map_err(|reason| attempts.fail(&reason.to_string()))
                    .ok()
                    .map(|keys| named(keys, "process_credentials"))
            }
            Source::DefaultChain => self.chain(files, attempts).await.ok().flatten(),
        };
        found.ok_or_else(|| attempts.summary())
    }

    /// AWS's default chain. A place that is configured but fails ends it: the next one would be another identity.
    async fn chain(&self, files: &SharedFiles, attempts: &Attempts) -> Result<Option<Found>, Failed> {
        if let Some(found) = ask(ENVIRONMENT, &EnvironmentVariableCredentialsProvider::new(), attempts).await? {
            return Ok(Some(found));
        }
        if let Some(found) = self.profile(None, files, attempts).await? {
            return Ok(Some(found));
        }
        if self.pod_role().is_none()
            && let Some(found) = self.web_identity(files, attempts).await?
        {
            return Ok(Some(found));
        }
        attempts.begin(CONTAINER);
        if let Some(file) = container_token_file() {
            self.check(file, attempts).await?;
        }
        if let Some(found) = ask(CONTAINER, &self.container(), attempts).await? {
            return Ok(Some(found));
        }
        ask(INSTANCE, &self.instance(), attempts).await
    }

    /// The profile of this name, or that of the environment.
    async fn profile(
        &self,
        name: Option<&str>,
        files: &SharedFiles,
        attempts: &Attempts,
    ) -> Result<Option<Found>, Failed> {
        let usual = variable("AWS_PROFILE");
        let place = format!("profile '{}'", name.or(usual.as_deref()).unwrap_or("default"));
        attempts.begin(&place);
        let failed = |reason: &str| {
            attempts.fail(reason);
            Failed
        };
        let mut files = files.clone();
        if let Some(endpoint) = &self.sts_endpoint {
            let lines = lines_with_sts_endpoint(&files, name, endpoint).await;
            files = files.with(&lines.unwrap_or_default());
        }
        match base(&files, name).await {
            Base::File(path) => self.check(path, attempts).await?,
            Base::Process { command, account, taken_by } => {
                let keys = process::credentials(&command, account).await;
                let keys = keys.map_err(|reason| failed(&reason.to_string()))?;
                let Some(profile) = taken_by else {
                    return Ok(Some(Found { passed_over: attempts.clear(), ..named(keys, &place) }));
                };
                let lines = lines_with_credentials(&keys, &profile);
                files = files.with(&lines.ok_or_else(|| failed("the process printed keys that contain blanks"))?);
            }
            Base::Other => {}
        }
        let mut provider = ProfileFileCredentialsProvider::builder()
            .configure(&self.provider_config())
            .profile_files(files.contents())
            .with_custom_provider("Ec2InstanceMetadata", self.instance())
            .with_custom_provider("EcsContainer", self.container());
        if let Some(name) = name {
            provider = provider.profile_name(name);
        }
        ask(&place, &provider.build(), attempts).await
    }

    /// Reads a file that AWS's library is about to read, and fails if that might take forever. The library itself
    /// reports a missing file.
    async fn check(&self, file: PathBuf, attempts: &Attempts) -> Result<(), Failed> {
        match files::read(&self.blocking, file).await {
            Err(Unread::Unusable(reason)) => {
                attempts.fail(&reason);
                Err(Failed)
            }
            _ => Ok(()),
        }
    }

    async fn web_identity(&self, files: &SharedFiles, attempts: &Attempts) -> Result<Option<Found>, Failed> {
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
        // Read each time: Kubernetes replaces it before it expires.
        let token = files::read_text(&self.blocking, file).await.map_err(|reason| failed(&reason.to_string()))?;
        match self.sts(files).assume_role_with_web_identity(&role, &session_name, token.trim()).await {
            Ok(found) => Ok(Some(Found { passed_over: attempts.clear(), ..found })),
            Err(reason) => Err(failed(&format!("{role}: {reason}"))),
        }
    }

    /// The role that the log router of EKS on Fargate assumes with the machine's credentials, as in Fluent Bit and
    /// AWS's Go plugin.
    fn pod_role(&self) -> Option<Role> {
        let from_machine = matches!(self.source, Source::DefaultChain);
        let arn = variable("EKS_POD_EXECUTION_ROLE").filter(|_| from_machine)?;
        Some(Role { arn, external_id: None, session_name: None, policy: None, duration: POD_ROLE_DURATION })
    }

    fn container(&self) -> EcsCredentialsProvider {
        EcsCredentialsProvider::builder().configure(&self.provider_config()).dns(self.resolver.clone()).build()
    }

    fn instance(&self) -> ImdsCredentialsProvider {
        let config = self.provider_config();
        let client = imds::Client::builder().configure(&config).max_attempts(self.metadata_attempts).build();
        ImdsCredentialsProvider::builder().configure(&config).imds_client(client).build()
    }

    /// The configuration of AWS's providers.
    fn provider_config(&self) -> ProviderConfig {
        ProviderConfig::default()
            .with_region(Some(self.aws_region()))
            .with_http_client(self.http.clone())
            .with_timeout_config(timeouts())
    }

    fn sts(&self, files: &SharedFiles) -> Sts<'_> {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .profile_files(files.contents())
            .region(self.aws_region())
            .http_client(self.http.clone())
            .timeout_config(timeouts());
        Sts { config, endpoint: self.sts_endpoint.as_ref() }
    }

    fn aws_region(&self) -> aws_types::region::Region {
        aws_types::region::Region::new(self.region.as_str().to_owned())
    }
}

/// A place is configured but has no credentials. The reason is among the attempts.
struct Failed;

/// The credentials of `provider`, or `None` if it is not configured.
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
        // Its text quotes the variable, which may be the secret.
        _ if place == ENVIRONMENT && is_configured => "a variable is not UTF-8".to_owned(),
        _ if place == ENVIRONMENT => unset(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]),
        _ if place == CONTAINER && !is_configured => {
            "neither AWS_CONTAINER_CREDENTIALS_FULL_URI nor AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set".to_owned()
        }
        Some(cause) if place == INSTANCE => of_instance(cause),
        Some(cause) => of_call(cause),
        None if is_configured => error.to_string(),
        None => "not configured".to_owned(),
    }
}

/// Says which of these variables are not set.
fn unset(names: [&str; 2]) -> String {
    match names.map(|name| variable(name).is_none()) {
        [true, true] => format!("{} and {} are not set", names[0], names[1]),
        [true, false] => format!("{} is not set", names[0]),
        [false, _] => format!("{} is not set", names[1]),
    }
}

fn of_instance(cause: &(dyn Error + 'static)) -> String {
    let text = with_causes(cause);
    if text.contains("disabled by AWS_EC2_METADATA_DISABLED") {
        return "AWS_EC2_METADATA_DISABLED is true".to_owned();
    }
    // AWS's library reads the reply without its status.
    if text.contains("did not contain a TTL header") {
        return "the instance metadata service failed or has no IMDSv2: it returned no token".to_owned();
    }
    if text.contains("could not communicate") {
        let cause = of_call(cause);
        return format!("{cause} (in a container on EC2, instance metadata requires a hop limit of 2)");
    }
    // It ends with a dump of the whole reply.
    text.split(". Response {").take(1).collect()
}

fn named(credentials: Credentials, place: &str) -> Found {
    let account = credentials.account_id().map(|account| format!("of account {} ", one_line(account.as_str())));
    let name = format!("{}from {place}", account.unwrap_or_default());
    Found { credentials, name, passed_over: None }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT).build()
}
