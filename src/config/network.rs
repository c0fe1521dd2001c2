//! The options that say how AWS is reached.

use super::parse;
use super::reader::Options;
use crate::aws::connect::proxy::Proxy;
use crate::aws::endpoint::{Endpoint, EndpointError};
use crate::aws::network::Network;

/// Reads the options.
pub(super) fn read(options: &mut Options<'_>) -> Network {
    let network = Network {
        endpoint: options.optional("endpoint", Endpoint::parse),
        use_fips_endpoint: options.optional("use_fips_endpoint", parse::boolean),
        use_dualstack_endpoint: options.optional("use_dualstack_endpoint", parse::boolean),
        http_proxy: proxy(options),
        ca_bundle: options.optional("ca_bundle", parse::path),
    };
    if let Some(endpoint) = &network.endpoint {
        if network.use_fips_endpoint == Some(true) {
            options.reject("use_fips_endpoint", EndpointError::NotFips(endpoint.clone()).to_string());
        }
        if network.use_dualstack_endpoint == Some(true) {
            options.reject("use_dualstack_endpoint", EndpointError::NotDualStack(endpoint.clone()).to_string());
        }
    }
    network
}

/// Its text may hold a password, so no issue repeats it.
fn proxy(options: &mut Options<'_>) -> Option<Proxy> {
    let text = options.optional("http_proxy", parse::text)?;
    Proxy::parse(&text).map_err(|allowed| options.reject("http_proxy", format!("not valid: {allowed}"))).ok()
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn parse(options: &[(&str, &str)]) -> Result<Config, String> {
        let find = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let with_stream = |name: &str| if name == "stream" { Some("logs".to_owned()) } else { find(name) };
        Config::parse(&with_stream).map_err(|error| error.to_string())
    }

    #[test]
    fn an_endpoint_and_a_kind_of_endpoint_contradict_each_other() {
        let issues =
            parse(&[("endpoint", "a:1"), ("use_fips_endpoint", "on"), ("use_dualstack_endpoint", "yes")]).unwrap_err();
        assert!(issues.contains("use_fips_endpoint: conflicts with the endpoint 'https://a:1'"), "{issues}");
        assert!(issues.contains("use_dualstack_endpoint: conflicts with the endpoint"), "{issues}");
        assert!(parse(&[("endpoint", "a:1"), ("use_fips_endpoint", "off")]).is_ok());
        assert!(parse(&[("use_fips_endpoint", "on"), ("use_dualstack_endpoint", "on")]).is_ok());
    }

    #[test]
    fn a_proxys_password_is_in_no_issue_and_in_no_debug_text() {
        let issues = parse(&[("http_proxy", "socks5://user:secret@proxy:1080")]).unwrap_err();
        assert_eq!(
            issues,
            "http_proxy: not valid: use http://host:port or http://user:password@host:port; percent-encode special \
             characters, such as %40 for @"
        );
        let config = parse(&[("http_proxy", "http://user:secret@proxy:3128")]).unwrap();
        assert_eq!(config.network.http_proxy.as_ref().unwrap().to_string(), "http://proxy:3128");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
