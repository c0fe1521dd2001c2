//! Connects a configuration to Kinesis: the composition root of an output.

use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::aws::blocking::Blocking;
use crate::aws::connect::Connector;
use crate::aws::connect::tls::check_bundle;
use crate::aws::credentials::default_region::default_region;
use crate::aws::credentials::identity::Identity;
use crate::aws::credentials::{CredentialsCache, FETCH_TIMEOUT};
use crate::aws::endpoint::{Endpoint, EndpointError};
use crate::aws::network::{CERTIFICATES_TIMEOUT, NetworkError};
use crate::aws::region::Region;
use crate::aws::sdk_http::http_client;
use crate::aws::shared_config::SharedFiles;
use crate::aws::user_agent::user_agent;
use crate::clock::Clock;
use crate::config::{self, Config, Coroutines, LedgerSettings};
use crate::dead_letters::DeadLetters;
use crate::deliver::{Delivery, Deps, Destination};
use crate::environment;
use crate::error::{ConfigError, ConfigIssue};
use crate::kinesis::client::{Client, Requests};
use crate::kinesis::stream::Stream;
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

/// Adds what is wrong with the file of `ca_bundle` to what is wrong with the options: it is read only once they are
/// valid, and one start shall show all mistakes.
pub(super) fn and_ca_bundle(mut error: ConfigError, property: &dyn Fn(&str) -> Option<String>) -> ConfigError {
    let Some(path) = property("ca_bundle").filter(|path| !path.trim().is_empty()) else { return error };
    let (sender, checked) = mpsc::channel();
    let blocking = Blocking::start();
    let check = move || drop(sender.send(check_bundle(Path::new(path.trim()))));
    if blocking.submit(Box::new(check)).is_ok()
        && let Ok(Err(reason)) = checked.recv_timeout(CERTIFICATES_TIMEOUT)
    {
        error.issues.push(ConfigIssue::new("ca_bundle", reason));
        config::sort(&mut error.issues);
    }
    error
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
    let region = region(config.region.clone(), &config.identity, &files, &blocking).await?;
    let network =
        config.network.clone().resolve(config.identity.profile(), &files, &blocking, &region, &environment::variable);
    let (endpoint, connector) = network.await.map_err(issue)?;
    let place = format!(" in {region} at {endpoint}");
    let destination = format!("stream {}{place}", config.target.as_str());
    announce(&log, &destination, &connector, &endpoint, &config);

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
            format!("{reason}; starting without credentials: records wait in Fluent Bit until there are some")
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
fn announce(log: &Logger, destination: &str, connector: &Connector, endpoint: &Endpoint, config: &Config) {
    let proxy = connector.proxy(endpoint.uri());
    let through = proxy.map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
    log.write(Level::Info, || format!("version {}: {destination}{through}", env!("CARGO_PKG_VERSION")));
    log.write(Level::Info, || format!("options: {}; defaults for all others", config.set_options));
    let endpoints = [Some(endpoint), config.identity.sts_endpoint.as_ref()].into_iter().flatten();
    for warning in endpoints.filter_map(Endpoint::warning).chain(config.target.single().and_then(incomplete)) {
        log.write(Level::Warn, || warning);
    }
    if environment::variable("SEND_FAILURE_TIMEOUT").is_some() {
        log.write(Level::Warn, || "SEND_FAILURE_TIMEOUT is set but has no effect: this plugin never exits Fluent Bit");
    }
}

/// A warning if a part of a stream's name seems to be missing.
fn incomplete(stream: &Stream) -> Option<String> {
    let name = stream.as_str().rsplit('/').next()?;
    let is_joint = |c: &char| matches!(c, '-' | '_' | '.');
    let ends = name.chars().next_back().filter(is_joint).map(|joint| ("ends", joint));
    let (ends, joint) = ends.or_else(|| Some(("begins", name.chars().next().filter(is_joint)?)))?;
    Some(format!(
        "the stream's name '{name}' {ends} with '{joint}': if something in braces stood there, Fluent Bit took it for an environment variable that is not set; for the tag write $TAG"
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_which_the_host_has_taken_a_variable_is_warned_of() {
        for (name, warned) in [
            ("logs-", Some("the stream's name 'logs-' ends with '-': ")),
            (".logs", Some("the stream's name '.logs' begins with '.': ")),
            ("arn:aws:kinesis:us-east-1:111122223333:stream/logs_", Some("the stream's name 'logs_' ends with '_': ")),
            ("team-logs.v1_eu", None),
            ("arn:aws:kinesis:us-east-1:111122223333:stream/logs", None),
        ] {
            let warning = incomplete(&Stream::parse(name).unwrap());
            assert_eq!(warning.is_some(), warned.is_some(), "{name}");
            assert!(warning.unwrap_or_default().starts_with(warned.unwrap_or_default()), "{name}");
        }
    }

    #[test]
    fn a_bundle_that_cannot_be_read_is_told_with_the_options_that_are_not_valid() {
        let property = testing::property(&[("stream", "logs"), ("ca_bundle", "/nowhere/ca.pem"), ("oversize", "x")]);
        let error = Config::parse(&property).map_err(|error| and_ca_bundle(error, &property)).unwrap_err();
        let issues: Vec<String> = error.issues.iter().map(ToString::to_string).collect();
        assert!(issues[0].starts_with("ca_bundle: /nowhere/ca.pem cannot be read: "), "{issues:?}");
        assert!(issues.len() == 2 && issues[1].starts_with("oversize: 'x' is not valid"), "{issues:?}");
    }
}
