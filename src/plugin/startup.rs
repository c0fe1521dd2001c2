//! Connects a configuration to Kinesis: the composition root of an output.

use std::rc::Rc;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::aws::blocking::Blocking;
use crate::aws::connect::Connector;
use crate::aws::credentials::default_region::default_region;
use crate::aws::credentials::identity::Identity;
use crate::aws::credentials::{CredentialsCache, FETCH_TIMEOUT};
use crate::aws::endpoint::{Endpoint, EndpointError};
use crate::aws::network::NetworkError;
use crate::aws::region::Region;
use crate::aws::sdk_http::http_client;
use crate::aws::shared_config::SharedFiles;
use crate::aws::user_agent::user_agent;
use crate::clock::Clock;
use crate::config::{Config, Coroutines, LedgerSettings};
use crate::dead_letters::DeadLetters;
use crate::deliver::{Delivery, Deps, Destination};
use crate::environment;
use crate::error::{ConfigError, ConfigIssue};
use crate::kinesis::client::{Client, Requests};
use crate::ledger::Ledger;
use crate::log::{Level, Logger};
use crate::metrics::Metrics;
use crate::plugin::check::check;

/// The environment variable that decides when the option is not set.
const COROUTINES: &str = "KINESIS_COROUTINES";

/// Whether flushes wait on coroutines: by the option, else the environment, else the default.
pub(super) fn coroutines(
    option: Option<Coroutines>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Coroutines, ConfigError> {
    match (option, environment(COROUTINES)) {
        (None, Some(text)) => {
            Ok(Coroutines::parse(&text).map_err(|allowed| ConfigIssue::new(COROUTINES, allowed.to_string()))?)
        }
        (option, _) => Ok(option.unwrap_or_default()),
    }
}

/// An error that is not about an option.
pub(super) fn cannot_start(reason: impl AsRef<str>) -> ConfigError {
    ConfigIssue::new("plugin", format!("cannot start: {}", reason.as_ref())).into()
}

/// Creates the delivery for `config`. Missing credentials are not an error: they may become available.
pub(super) async fn open(
    config: Config,
    clock: Arc<dyn Clock>,
    log: Logger,
    metrics: Metrics,
) -> Result<Rc<Delivery<Client>>, ConfigError> {
    let deadline = Instant::now() + FETCH_TIMEOUT;
    let blocking = Blocking::start();
    let files = SharedFiles::read(&blocking).await.map_err(|reason| ConfigIssue::new("profile", reason.to_string()))?;
    let region = region(config.region, &config.identity, &files, &blocking).await?;
    let network = config.network.resolve(config.identity.profile(), &files, &blocking, &region, &environment::variable);
    let (endpoint, connector) = network.await.map_err(issue)?;
    let place = format!(" in {region} at {endpoint}");
    let destination = format!("stream {}{place}", config.target.as_str());
    announce(&log, &destination, &connector, &endpoint, config.identity.sts_endpoint.as_ref(), &config.set_options);

    let http = http_client(connector.clone());
    let cache = CredentialsCache::open(
        config.identity,
        region.clone(),
        http,
        blocking,
        Arc::clone(&clock),
        log.clone(),
        metrics.clone(),
    );
    let is_of_aws = endpoint.is_of_aws(&region);
    let requests = Requests::new(&endpoint, region, config.requests.protocol, user_agent(&environment::variable))
        .with_proxy_authorization(connector.proxy_authorization(endpoint.uri()));
    let client = Client::new(connector, cache, Arc::clone(&clock), requests, config.request_timeout, metrics.clone());
    if let Err(reason) = client.credentials(deadline.saturating_duration_since(Instant::now())).await {
        log.write(Level::Warn, || {
            format!("{reason}; starting without credentials: flushes return retry until they are available")
        });
    }
    if let Some(stream) = config.target.single() {
        check(&client, stream, &destination, config.check, is_of_aws, &log).await?;
    }
    let mut random: SmallRng = rand::make_rng();
    let ledger = load_ledger(config.ledger, &destination, &mut random, &log)?;
    let open = |place| DeadLetters::open(place, random.random(), clock, log.clone(), metrics.clone());
    let dead_letters = config.dead_letters.map(open).transpose();
    let dead_letters =
        dead_letters.map_err(|reason| ConfigIssue::new("dead_letter_path", reason.to_string()))?.map(Rc::new);
    let deps = Deps { transport: client, ledger, dead_letters, random, log, metrics };
    let destination = Destination { target: config.target, place };
    Ok(Delivery::new(deps, destination, config.requests, config.delivery))
}

/// The region of the configuration, else that of the environment, the profile or the instance.
async fn region(
    configured: Option<Region>,
    identity: &Identity,
    files: &SharedFiles,
    blocking: &Blocking,
) -> Result<Region, ConfigIssue> {
    if let Some(region) = configured {
        return Ok(region);
    }
    let found = default_region(identity, files, blocking, FETCH_TIMEOUT).await;
    found.ok_or_else(|| {
        ConfigIssue::new(
            "region",
            "not set, nor given by the stream's ARN, AWS_REGION, AWS_DEFAULT_REGION, the profile or the instance",
        )
    })
}

/// Names the option that corrects the error.
fn issue(error: NetworkError) -> ConfigIssue {
    let option = match &error {
        NetworkError::Endpoint(EndpointError::InvalidUrl { .. }) => "endpoint",
        NetworkError::Endpoint(EndpointError::NoHost(_)) => "region",
        NetworkError::Endpoint(EndpointError::NotFips(_)) => "use_fips_endpoint",
        NetworkError::Endpoint(EndpointError::NotDualStack(_)) => "use_dualstack_endpoint",
        NetworkError::Proxy(_) => "http_proxy",
        NetworkError::Certificates(_) => "ca_bundle",
    };
    ConfigIssue::new(option, error.to_string())
}

/// Logs where and how records are sent, and any warnings.
fn announce(
    log: &Logger,
    destination: &str,
    connector: &Connector,
    endpoint: &Endpoint,
    sts_endpoint: Option<&Endpoint>,
    set_options: &str,
) {
    let proxy = connector.proxy(endpoint.uri());
    let through = proxy.map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
    log.write(Level::Info, || format!("version {}: {destination}{through}", env!("CARGO_PKG_VERSION")));
    log.write(Level::Info, || format!("options: {set_options}; defaults for all others"));
    for warning in [Some(endpoint), sts_endpoint].into_iter().flatten().filter_map(Endpoint::warning) {
        log.write(Level::Warn, || warning);
    }
    if environment::variable("SEND_FAILURE_TIMEOUT").is_some() {
        log.write(Level::Warn, || "SEND_FAILURE_TIMEOUT is set but has no effect: this plugin never exits Fluent Bit");
    }
}

/// Opens the ledger with what the last run left in its file.
fn load_ledger(
    settings: LedgerSettings,
    destination: &str,
    random: &mut SmallRng,
    log: &Logger,
) -> Result<Ledger, ConfigIssue> {
    let LedgerSettings { max_bytes, path } = settings;
    match path {
        None => Ok(Ledger::new(max_bytes).with_seed(random.random())),
        Some(path) => Ledger::open(max_bytes, path, destination.to_owned(), random.random(), log.clone())
            .map_err(|reason| ConfigIssue::new("ledger_path", reason.to_string())),
    }
}
