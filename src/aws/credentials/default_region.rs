//! The region when neither the options nor the stream's ARN name one.

use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;

use crate::aws::blocking::Blocking;
use crate::aws::connect::Connector;
use crate::aws::connect::proxy::Proxies;
use crate::aws::connect::resolver::Resolver;
use crate::aws::connect::tls::Tls;
use crate::aws::credentials::identity::Identity;
use crate::aws::region::Region;
use crate::aws::sdk_http::http_client;
use crate::aws::shared_config::SharedFiles;

/// The region of the environment, the profile or the instance, in this order; `None` if none of them has answered
/// within `timeout`.
pub(crate) async fn default_region(
    identity: &Identity,
    files: &SharedFiles,
    blocking: &Blocking,
    timeout: Duration,
) -> Option<Region> {
    // The instance's metadata is served without TLS and without a proxy, and aws-config brings no HTTP client of its
    // own.
    let connector = Connector::new(Tls::nobody().ok()?, Proxies::default(), Resolver::new(blocking.clone()));
    let provider = ProviderConfig::default().with_http_client(http_client(connector));
    let mut profile = ProfileFileRegionProvider::builder().profile_files(files.contents());
    if let Some(name) = identity.profile() {
        profile = profile.profile_name(name);
    }
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(profile.build())
        .or_else(ImdsRegionProvider::builder().configure(&provider).build());
    let region = tokio::time::timeout(timeout, chain.region()).await.ok().flatten()?;
    Region::parse(region.as_ref()).ok()
}
