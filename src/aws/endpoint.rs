//! Where Kinesis is.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::aws::region::{Kind, Region};
use crate::aws::shared_config::SharedConfig;
use crate::error::Allowed;
use crate::redact::one_line;

/// A server to talk to: scheme, host, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
}

/// Why there is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndpointError {
    /// The URL in AWS's shared configuration is invalid.
    InvalidUrl {
        /// The URL, in a form that may be logged.
        url: String,
        /// What an endpoint may be.
        allowed: Allowed,
    },
    /// The region's name is not part of a valid host name.
    NoHost(Region),
    /// FIPS is requested together with this endpoint.
    NotFips(Endpoint),
    /// Dual stack is requested together with this endpoint.
    NotDualStack(Endpoint),
}

impl Endpoint {
    /// Reads `host`, `host:port` or a URL without a path; no scheme means https.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Endpoint, Allowed> {
        let allowed = || Allowed::from("use host, host:port, https://host:port or http://host:port, without a path");
        let url = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let uri: Uri = url.parse().map_err(|_| allowed())?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.filter(|s| *s == Scheme::HTTPS || *s == Scheme::HTTP).ok_or_else(allowed)?;
        let authority = parts.authority.filter(is_host_and_port).ok_or_else(allowed)?;
        if parts.path_and_query.is_some_and(|path| path != "/") {
            return Err(allowed());
        }
        Self::from_parts(scheme, authority).ok_or_else(allowed)
    }

    /// The public endpoint of Kinesis in `region`; `None` if the region's name does not form a valid host name.
    pub fn of_region(region: &Region, kind: Kind) -> Option<Endpoint> {
        Self::from_parts(Scheme::HTTPS, region.host(kind).parse().ok()?)
    }

    /// The endpoint of the options, else of AWS's shared configuration, else of the region.
    ///
    /// # Errors
    /// There is none, or both an endpoint and a kind of regional endpoint are configured: a FIPS endpoint that was
    /// requested but silently not used would be worse than an error.
    pub(crate) fn choose(
        configured: Option<Endpoint>,
        use_fips: Option<bool>,
        use_dual_stack: Option<bool>,
        shared: &SharedConfig,
        region: &Region,
    ) -> Result<Endpoint, EndpointError> {
        let named = match (configured, &shared.endpoint_url) {
            (Some(endpoint), _) => Some(endpoint),
            (None, Some(url)) => Some(
                Endpoint::parse(url).map_err(|allowed| EndpointError::InvalidUrl { url: one_line(url), allowed })?,
            ),
            (None, None) => None,
        };
        let kind = Kind {
            fips: use_fips.unwrap_or(shared.use_fips_endpoint),
            dual_stack: use_dual_stack.unwrap_or(shared.use_dualstack_endpoint),
        };
        match named {
            None => Endpoint::of_region(region, kind).ok_or_else(|| EndpointError::NoHost(region.clone())),
            Some(endpoint) if kind.fips => Err(EndpointError::NotFips(endpoint)),
            Some(endpoint) if kind.dual_stack => Err(EndpointError::NotDualStack(endpoint)),
            Some(endpoint) => Ok(endpoint),
        }
    }

    fn from_parts(scheme: Scheme, authority: Authority) -> Option<Endpoint> {
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()?;
        Some(Endpoint { uri })
    }

    /// The URL requests are posted to.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The `Host` header of requests: without a port if it is the scheme's default.
    pub fn host_header(&self) -> String {
        let host = self.uri.host().unwrap_or_default();
        match self.uri.port_u16() {
            Some(port) if port != if self.is_https() { 443 } else { 80 } => format!("{host}:{port}"),
            _ => host.to_owned(),
        }
    }

    /// A warning when records would leave this machine without TLS.
    pub(crate) fn warning(&self) -> Option<String> {
        let host = self.uri.host().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| address.to_canonical());
        let is_here = host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|a| a.is_loopback());
        (!self.is_https() && !is_here).then(|| {
            format!(
                "'{self}' is reached without TLS: anyone on the network can read records and signatures; use https://"
            )
        })
    }

    /// Whether it is one of AWS's own in `region`: public, or a VPC endpoint.
    pub(crate) fn is_of_aws(&self, region: &Region) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let (domain, dual_stack_domain) = region.domains();
        let is_in = |domain: &str| host.strip_suffix(domain).is_some_and(|name| name.ends_with('.'));
        self.is_https() && (is_in(domain) || is_in(dual_stack_domain))
    }

    /// Whether it is a public endpoint of AWS in `region`.
    pub(crate) fn is_of_region(&self, region: &Region) -> bool {
        let kinds = [(false, false), (true, false), (false, true), (true, true)];
        kinds
            .into_iter()
            .any(|(fips, dual_stack)| Self::of_region(region, Kind { fips, dual_stack }).as_ref() == Some(self))
    }

    /// Whether it uses TLS.
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

fn is_host_and_port(authority: &Authority) -> bool {
    let port_is_valid = match authority.as_str().rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => authority.port_u16().is_some_and(|port| port > 0),
        _ => true,
    };
    // The URL standard's parser takes more, such as a comma in place of a dot.
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host = authority.host();
    let host_is_valid = !host.is_empty() && (host.starts_with('[') || host.chars().all(is_of_names));
    host_is_valid && !authority.as_str().contains('@') && port_is_valid
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::InvalidUrl { url, allowed } => {
                write!(f, "'{url}' from AWS_ENDPOINT_URL or the profile is not valid: {allowed}")
            }
            EndpointError::NoHost(region) => write!(f, "'{region}' does not form an endpoint's host name"),
            EndpointError::NotFips(endpoint) | EndpointError::NotDualStack(endpoint) => {
                write!(f, "conflicts with the endpoint '{endpoint}': remove that one or set this option to off")
            }
        }
    }
}

impl Error for EndpointError {}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.to_string().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tests/real/network/ checks against botocore that these are AWS's.
    #[test]
    fn aws_is_told_from_others_by_the_regions_domains() {
        for (endpoint, region, is_of_aws) in [
            ("kinesis.eu-west-1.amazonaws.com", "eu-west-1", true),
            ("kinesis-fips.eu-west-1.api.aws", "eu-west-1", true),
            ("vpce-0123456789abcdef0-abcdefgh.kinesis.eu-west-1.vpce.amazonaws.com:443", "eu-west-1", true),
            ("kinesis.cn-north-1.amazonaws.com.cn", "cn-north-1", true),
            ("kinesis.cn-north-1.amazonaws.com", "cn-north-1", false),
            ("http://kinesis.eu-west-1.amazonaws.com", "eu-west-1", false),
            ("evilamazonaws.com", "eu-west-1", false),
            ("kinesis.eu-west-1.amazonaws.com.example", "eu-west-1", false),
            ("http://127.0.0.1:4567", "eu-west-1", false),
        ] {
            let (endpoint, region) = (Endpoint::parse(endpoint).unwrap(), Region::parse(region).unwrap());
            assert_eq!(endpoint.is_of_aws(&region), is_of_aws, "{endpoint}");
        }
    }

    #[test]
    fn the_endpoint_of_a_region_is_under_its_partitions_domain() {
        for (region, hosts) in [
            (
                "ap-south-1",
                [
                    "kinesis.ap-south-1.amazonaws.com",
                    "kinesis-fips.ap-south-1.amazonaws.com",
                    "kinesis.ap-south-1.api.aws",
                    "kinesis-fips.ap-south-1.api.aws",
                ],
            ),
            (
                "us-gov-west-1",
                [
                    "kinesis.us-gov-west-1.amazonaws.com",
                    "kinesis.us-gov-west-1.amazonaws.com",
                    "kinesis.us-gov-west-1.api.aws",
                    "kinesis-fips.us-gov-west-1.api.aws",
                ],
            ),
            (
                "cn-north-1",
                [
                    "kinesis.cn-north-1.amazonaws.com.cn",
                    "kinesis-fips.cn-north-1.amazonaws.com.cn",
                    "kinesis.cn-north-1.api.amazonwebservices.com.cn",
                    "kinesis-fips.cn-north-1.api.amazonwebservices.com.cn",
                ],
            ),
            (
                "eusc-de-east-1",
                [
                    "kinesis.eusc-de-east-1.amazonaws.eu",
                    "kinesis-fips.eusc-de-east-1.amazonaws.eu",
                    "kinesis.eusc-de-east-1.api.amazonwebservices.eu",
                    "kinesis-fips.eusc-de-east-1.api.amazonwebservices.eu",
                ],
            ),
            (
                "us-iso-east-1",
                [
                    "kinesis.us-iso-east-1.c2s.ic.gov",
                    "kinesis-fips.us-iso-east-1.c2s.ic.gov",
                    "kinesis.us-iso-east-1.api.aws.ic.gov",
                    "kinesis-fips.us-iso-east-1.api.aws.ic.gov",
                ],
            ),
            (
                "us-isob-east-1",
                [
                    "kinesis.us-isob-east-1.sc2s.sgov.gov",
                    "kinesis-fips.us-isob-east-1.sc2s.sgov.gov",
                    "kinesis.us-isob-east-1.api.aws.scloud",
                    "kinesis-fips.us-isob-east-1.api.aws.scloud",
                ],
            ),
            (
                "us-isof-south-1",
                [
                    "kinesis.us-isof-south-1.csp.hci.ic.gov",
                    "kinesis-fips.us-isof-south-1.csp.hci.ic.gov",
                    "kinesis.us-isof-south-1.api.aws.hci.ic.gov",
                    "kinesis-fips.us-isof-south-1.api.aws.hci.ic.gov",
                ],
            ),
            (
                "eu-isoe-west-1",
                [
                    "kinesis.eu-isoe-west-1.cloud.adc-e.uk",
                    "kinesis-fips.eu-isoe-west-1.cloud.adc-e.uk",
                    "kinesis.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
                    "kinesis-fips.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
                ],
            ),
        ] {
            let region = Region::parse(region).unwrap();
            let kinds = [(false, false), (true, false), (false, true), (true, true)];
            for ((fips, dual_stack), host) in kinds.into_iter().zip(hosts) {
                let endpoint = Endpoint::of_region(&region, Kind { fips, dual_stack }).unwrap();
                assert_eq!(endpoint.to_string(), format!("https://{host}"));
            }
        }
    }

    #[test]
    fn an_endpoint_may_be_a_host_a_host_with_port_or_a_url() {
        for (text, url) in [
            ("vpce-1.kinesis.us-east-1.vpce.amazonaws.com", "https://vpce-1.kinesis.us-east-1.vpce.amazonaws.com"),
            ("localhost:4567", "https://localhost:4567"),
            ("http://127.0.0.1:4568/", "http://127.0.0.1:4568"),
            ("https://[::1]:4567", "https://[::1]:4567"),
            ("[::1]", "https://[::1]"),
        ] {
            assert_eq!(Endpoint::parse(text).map(|e| e.to_string()), Ok(url.to_owned()), "{text}");
        }
        for bad in [
            "",
            "ftp://a",
            "kinesis.us-east-1.amazonaws,com",
            "a:99999",
            "a:0",
            "a:",
            "https://a/path",
            "https://a?q",
            "user:secret@a",
            "a b",
            "://",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn http_is_warned_of_unless_it_stays_on_this_machine() {
        for (url, is_warned_of) in [
            ("http://kinesis.us-east-1.amazonaws.com", true),
            ("http://10.0.0.1:4566", true),
            ("http://[2001:db8::1]", true),
            ("http://localhost.example.com", true),
            ("http://localhost:4566", false),
            ("http://kinesis.localhost", false),
            ("http://127.8.0.1", false),
            ("http://[::1]:4566", false),
            ("http://[::ffff:127.0.0.1]:4566", false),
            ("https://10.0.0.1", false),
        ] {
            let warning = Endpoint::parse(url).unwrap().warning();
            assert_eq!(warning.is_some(), is_warned_of, "{url}");
            let expected =
                " is reached without TLS: anyone on the network can read records and signatures; use https://";
            assert!(warning.is_none_or(|warning| warning == format!("'{url}'{expected}")));
        }
    }

    fn choose(
        endpoint: Option<&str>,
        kind: [Option<bool>; 2],
        url: Option<&str>,
        shared: [bool; 2],
    ) -> Result<String, EndpointError> {
        let shared = SharedConfig {
            endpoint_url: url.map(str::to_owned),
            use_fips_endpoint: shared[0],
            use_dualstack_endpoint: shared[1],
        };
        let endpoint = endpoint.map(|text| Endpoint::parse(text).unwrap());
        Endpoint::choose(endpoint, kind[0], kind[1], &shared, &Region::parse("us-east-1").unwrap())
            .map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn options_outrank_awss_shared_configuration() {
        let (unset, none) = ([None, None], [false, false]);
        assert_eq!(choose(None, unset, None, none).unwrap(), "https://kinesis.us-east-1.amazonaws.com");
        assert_eq!(choose(None, unset, Some("http://127.0.0.1:4566/"), none).unwrap(), "http://127.0.0.1:4566");
        assert_eq!(choose(Some("a:1"), unset, Some("http://b"), none).unwrap(), "https://a:1");
        assert_eq!(choose(None, unset, None, [true, true]).unwrap(), "https://kinesis-fips.us-east-1.api.aws");
        let off = [Some(false), None];
        assert_eq!(choose(None, off, None, [true, true]).unwrap(), "https://kinesis.us-east-1.api.aws");
        assert_eq!(choose(Some("a"), off, None, [true, false]).unwrap(), "https://a");
    }

    #[test]
    fn a_named_endpoint_and_a_kind_of_endpoint_contradict_each_other() {
        let named = Endpoint::parse("https://a").unwrap();
        for (endpoint, kind, url, shared, error) in [
            (Some("a"), [None, None], None, [true, false], EndpointError::NotFips(named.clone())),
            (None, [Some(true), None], Some("https://a"), [false, false], EndpointError::NotFips(named.clone())),
            (None, [None, None], Some("https://a"), [false, true], EndpointError::NotDualStack(named.clone())),
        ] {
            assert_eq!(choose(endpoint, kind, url, shared), Err(error.clone()));
            let text = "conflicts with the endpoint 'https://a': remove that one or set this option to off";
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn an_endpoint_url_that_is_none_is_named_without_its_secrets() {
        let error = |url: &str| choose(None, [None, None], Some(url), [false, false]).unwrap_err().to_string();
        let plain = error("https://a/b");
        assert!(
            plain.starts_with("'https://a/b' from AWS_ENDPOINT_URL or the profile is not valid: use host"),
            "{plain}"
        );
        for url in ["https://bob:hunter2@a", "http://hunter2@a:1", "https://a/?token=hunter2"] {
            let error = error(url);
            assert!(error.contains("***") && !error.contains("hunter2"), "{error}");
        }
    }
}
