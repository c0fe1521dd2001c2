//! The options that say how AWS is reached.

use std::path::PathBuf;
use std::time::Duration;

use super::{Options, any_text, parse};
use crate::aws::blocking::Blocking;
use crate::aws::connect::Connector;
use crate::aws::connect::proxy::{Proxies, Proxy};
use crate::aws::connect::resolver::Resolver;
use crate::aws::connect::tls;
use crate::aws::endpoint::Endpoint;
use crate::aws::region::Region;
use crate::aws::shared_config::{SharedConfig, SharedFiles};
use crate::error::Mistake;

/// Longest time to read the certificates that are trusted.
const CERTIFICATES_PATIENCE: Duration = Duration::from_secs(5);

/// How AWS is reached. What is `None` is as the environment has it.
#[derive(Clone, Debug)]
pub struct Network {
    /// The endpoint, when it is not the region's.
    pub endpoint: Option<Endpoint>,
    /// Whether the region's FIPS endpoint is used.
    pub use_fips_endpoint: Option<bool>,
    /// Whether the region's endpoint with IPv6 is used.
    pub use_dualstack_endpoint: Option<bool>,
    /// The proxy.
    pub http_proxy: Option<Proxy>,
    /// A PEM file of certificates to trust beside the system's.
    pub ca_bundle: Option<PathBuf>,
}

impl Network {
    pub(super) fn read(options: &mut Options) -> Network {
        let network = Network {
            endpoint: options.optional("endpoint", Endpoint::parse),
            use_fips_endpoint: options.optional("use_fips_endpoint", parse::boolean),
            use_dualstack_endpoint: options.optional("use_dualstack_endpoint", parse::boolean),
            http_proxy: proxy(options),
            ca_bundle: options.optional("ca_bundle", |text| Ok(PathBuf::from(text))),
        };
        if let Some(endpoint) = &network.endpoint {
            for (option, value) in [
                ("use_fips_endpoint", network.use_fips_endpoint),
                ("use_dualstack_endpoint", network.use_dualstack_endpoint),
            ] {
                if value == Some(true) {
                    options.mistake(option, Endpoint::contradiction(endpoint));
                }
            }
        }
        network
    }

    /// The endpoint, and what opens connections to it: the options, and where they are unset, AWS's shared configuration of
    /// `profile` and the environment. Reads files, on threads of `blocking`; asks no server.
    pub async fn resolve(
        self,
        profile: Option<&str>,
        files: &SharedFiles,
        blocking: &Blocking,
        region: &Region,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Endpoint, Connector), Mistake> {
        let mistake = |option: &'static str, text| Mistake { option: option.into(), text };
        let shared = SharedConfig::load(files, profile, region).await;
        let (use_fips, use_dual_stack) = (self.use_fips_endpoint, self.use_dualstack_endpoint);
        let endpoint = Endpoint::choose(self.endpoint, use_fips, use_dual_stack, &shared, region)?;
        let proxies = Proxies::new(self.http_proxy, environment)
            .map_err(|(variable, allowed)| mistake("http_proxy", format!("{variable} is not valid: {allowed}")))?;
        let ca_bundle = self.ca_bundle.or_else(|| environment("AWS_CA_BUNDLE").map(PathBuf::from));
        let needed = endpoint.is_https();
        let read = move || tls::client_config(ca_bundle.as_deref(), needed);
        let tls = match blocking.run(CERTIFICATES_PATIENCE, read).await {
            Ok(read) => read.map_err(|reason| mistake("ca_bundle", reason))?,
            Err(reason) => return Err(mistake("ca_bundle", format!("certificates cannot be read: {reason}"))),
        };
        Ok((endpoint, Connector::new(tls, proxies, Resolver::new(blocking.clone()))))
    }
}

/// Its text may hold a password, so no mistake repeats it.
fn proxy(options: &mut Options) -> Option<Proxy> {
    let text = options.optional("http_proxy", any_text)?;
    Proxy::parse(&text).map_err(|allowed| options.mistake("http_proxy", format!("it is not valid: {allowed}"))).ok()
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
    fn an_endpoint_and_a_kind_of_endpoint_are_one_too_many() {
        let mistakes =
            parse(&[("endpoint", "a:1"), ("use_fips_endpoint", "on"), ("use_dualstack_endpoint", "yes")]).unwrap_err();
        assert!(mistakes.contains("use_fips_endpoint: it asks for another endpoint than 'https://a:1'"), "{mistakes}");
        assert!(mistakes.contains("use_dualstack_endpoint: it asks for another endpoint"), "{mistakes}");
        assert!(parse(&[("endpoint", "a:1"), ("use_fips_endpoint", "off")]).is_ok());
        assert!(parse(&[("use_fips_endpoint", "on"), ("use_dualstack_endpoint", "on")]).is_ok());
    }

    #[test]
    fn a_proxys_password_is_in_no_mistake_and_in_no_debug_text() {
        let mistakes = parse(&[("http_proxy", "socks5://user:secret@proxy:1080")]).unwrap_err();
        assert_eq!(
            mistakes,
            "http_proxy: it is not valid: use http://host:port or http://user:password@host:port, with %40 for an @ in \
             the password and the like"
        );
        let config = parse(&[("http_proxy", "http://user:secret@proxy:3128")]).unwrap();
        assert_eq!(config.network.http_proxy.as_ref().unwrap().to_string(), "http://proxy:3128");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
