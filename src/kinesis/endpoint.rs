//! Where Kinesis is.

use std::fmt;

use http::Uri;
use http::uri::{Authority, Scheme};

/// A region's name, such as `us-east-1`. Whether AWS has it is not checked: new ones come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl Region {
    /// Reads a region's name; the error says what is allowed.
    pub fn parse(text: &str) -> Result<Region, String> {
        let is_label = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if text.is_empty() || text.len() > 63 || text.starts_with('-') || text.ends_with('-') || !is_label {
            return Err("use a region's name, such as us-east-1".to_owned());
        }
        Ok(Region(text.to_owned()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain its services are under. Source: AWS's `partitions.json`
    /// (<https://github.com/boto/botocore/blob/develop/botocore/data/partitions.json>, read 2026-11).
    fn domain(&self) -> &'static str {
        const DOMAINS: [(&str, &str); 6] = [
            ("cn-", "amazonaws.com.cn"),
            ("eusc-", "amazonaws.eu"),
            ("us-iso-", "c2s.ic.gov"),
            ("us-isob-", "sc2s.sgov.gov"),
            ("us-isof-", "csp.hci.ic.gov"),
            ("eu-isoe-", "cloud.adc-e.uk"),
        ];
        DOMAINS.iter().find(|(prefix, _)| self.0.starts_with(prefix)).map_or("amazonaws.com", |&(_, domain)| domain)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server to talk to: scheme, host, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
}

impl Endpoint {
    /// Reads `host`, `host:port` or a URL without a path; no scheme means https. The error says what is allowed.
    pub fn parse(text: &str) -> Result<Endpoint, String> {
        let allowed = || "use host, host:port, https://host:port or http://host:port, without a path".to_owned();
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

    /// The public endpoint of Kinesis in `region`.
    pub fn of_region(region: &Region) -> Option<Endpoint> {
        let host = format!("kinesis.{region}.{}", region.domain());
        Self::from_parts(Scheme::HTTPS, host.parse().ok()?)
    }

    fn from_parts(scheme: Scheme, authority: Authority) -> Option<Endpoint> {
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()?;
        Some(Endpoint { uri })
    }

    /// The URL requests are posted to.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it is spoken to over TLS.
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

fn is_host_and_port(authority: &Authority) -> bool {
    let port_is_valid = match authority.as_str().rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => authority.port_u16().is_some_and(|port| port > 0),
        _ => true,
    };
    !authority.host().is_empty() && !authority.as_str().contains('@') && port_is_valid
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.to_string().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_of_a_region_is_under_its_partitions_domain() {
        for (region, host) in [
            ("ap-south-1", "kinesis.ap-south-1.amazonaws.com"),
            ("us-gov-west-1", "kinesis.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "kinesis.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "kinesis.eusc-de-east-1.amazonaws.eu"),
            ("us-iso-east-1", "kinesis.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "kinesis.us-isob-east-1.sc2s.sgov.gov"),
            ("us-isof-south-1", "kinesis.us-isof-south-1.csp.hci.ic.gov"),
            ("eu-isoe-west-1", "kinesis.eu-isoe-west-1.cloud.adc-e.uk"),
        ] {
            let endpoint = Endpoint::of_region(&Region::parse(region).unwrap()).unwrap();
            assert_eq!(endpoint.to_string(), format!("https://{host}"));
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
        for bad in
            ["", "ftp://a", "a:99999", "a:0", "a:", "https://a/path", "https://a?q", "user:secret@a", "a b", "://"]
        {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
