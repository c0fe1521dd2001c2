//! What AWS's own environment variables and configuration files say of endpoints, read by AWS's own library.

use aws_config::BehaviorVersion;
use aws_types::service_config::ServiceConfigKey;

use crate::kinesis::endpoint::Region;

/// What holds unless the output's options say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedConfig {
    /// `AWS_ENDPOINT_URL_KINESIS`, `AWS_ENDPOINT_URL`, or the profile's `endpoint_url`; `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`
    /// hides them.
    pub endpoint_url: Option<String>,
    /// `AWS_USE_FIPS_ENDPOINT`, or the profile's `use_fips_endpoint`.
    pub use_fips_endpoint: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`, or the profile's `use_dualstack_endpoint`.
    pub use_dualstack_endpoint: bool,
}

impl SharedConfig {
    /// Reads variables and files; `profile` is the one the output names. Asks no server.
    pub async fn load(profile: Option<&str>, region: &Region) -> SharedConfig {
        let region = aws_types::region::Region::new(region.as_str().to_owned());
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(region).no_credentials();
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        let of_kinesis =
            ServiceConfigKey::builder().service_id("Kinesis").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        SharedConfig {
            endpoint_url: config.service_config().zip(of_kinesis.ok()).and_then(|(all, key)| all.load_config(key)),
            use_fips_endpoint: config.use_fips().unwrap_or_default(),
            use_dualstack_endpoint: config.use_dual_stack().unwrap_or_default(),
        }
    }
}
