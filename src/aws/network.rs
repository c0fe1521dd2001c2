//! How AWS is reached: the settings, and the endpoint and connections that follow from them.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::aws::blocking::Blocking;
use crate::aws::connect::Connector;
use crate::aws::connect::proxy::{InvalidProxyVariable, Proxies, Proxy};
use crate::aws::connect::resolver::Resolver;
use crate::aws::connect::tls::Tls;
use crate::aws::endpoint::{Endpoint, EndpointError};
use crate::aws::region::Region;
use crate::aws::shared_config::{SharedConfig, SharedFiles};

/// Longest time to read the trusted certificates.
pub(crate) const CERTIFICATES_TIMEOUT: Duration = Duration::from_secs(5);

/// How AWS is reached. `None` leaves a setting to AWS's shared configuration and the environment.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// The endpoint of Kinesis, if not the region's.
    pub(crate) endpoint: Option<Endpoint>,
    /// Whether to use the region's FIPS endpoint.
    pub(crate) use_fips_endpoint: Option<bool>,
    /// Whether to use the region's endpoint for IPv4 and IPv6.
    pub(crate) use_dualstack_endpoint: Option<bool>,
    /// The proxy.
    pub(crate) http_proxy: Option<Proxy>,
    /// A PEM file of certificates to trust in addition to the system's.
    pub(crate) ca_bundle: Option<PathBuf>,
}

/// Why the settings lead nowhere.
#[derive(Debug)]
pub(crate) enum NetworkError {
    /// There is no endpoint.
    Endpoint(EndpointError),
    /// A variable of the environment names a proxy that is not one.
    Proxy(InvalidProxyVariable),
    /// The trusted certificates cannot be used.
    Certificates(String),
}

impl Network {
    /// The endpoint, and what opens connections to it. What is unset comes from AWS's shared configuration
    /// (`profile`) and the environment. Reads files on threads of `blocking`; connects to nothing.
    ///
    /// # Errors
    /// When the settings contradict each other, or name a proxy or certificates that cannot be used.
    pub(crate) async fn resolve(
        self,
        profile: Option<&str>,
        files: &SharedFiles,
        blocking: &Blocking,
        region: &Region,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Endpoint, Connector), NetworkError> {
        let shared = SharedConfig::load(files, profile, region).await;
        let (use_fips, use_dual_stack) = (self.use_fips_endpoint, self.use_dualstack_endpoint);
        let endpoint = Endpoint::choose(self.endpoint, use_fips, use_dual_stack, &shared, region)?;
        let proxies = Proxies::new(self.http_proxy, environment)?;
        let ca_bundle = self.ca_bundle.or_else(|| environment("AWS_CA_BUNDLE").map(PathBuf::from));
        let needed = endpoint.is_https();
        let read = blocking.run(CERTIFICATES_TIMEOUT, move || Tls::new(ca_bundle.as_deref(), needed)).await;
        let tls = read
            .map_err(|reason| NetworkError::Certificates(format!("certificates cannot be read: {reason}")))?
            .map_err(NetworkError::Certificates)?;
        Ok((endpoint, Connector::new(tls, proxies, Resolver::new(blocking.clone()))))
    }
}

impl From<EndpointError> for NetworkError {
    fn from(error: EndpointError) -> NetworkError {
        NetworkError::Endpoint(error)
    }
}

impl From<InvalidProxyVariable> for NetworkError {
    fn from(error: InvalidProxyVariable) -> NetworkError {
        NetworkError::Proxy(error)
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkError::Endpoint(error) => error.fmt(f),
            NetworkError::Proxy(error) => error.fmt(f),
            NetworkError::Certificates(reason) => f.write_str(reason),
        }
    }
}

impl Error for NetworkError {}
