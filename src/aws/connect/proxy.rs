//! Which proxy a connection uses, if any.
//!
//! The rules are those of curl and of Go's libraries. hyper-util's matcher applies them, except for two forms of
//! `NO_PROXY` entries that it does not know and that are therefore read here: `host:port`, and `*.example.com`.
//! Metadata services and loopback always bypass the proxy: on the other side they would be another machine's.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::header::HeaderValue;
use http::uri::Scheme;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::error::Allowed;

/// Link-local addresses, where instances, ECS and EKS have their metadata
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>,
/// <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html>, read 2026-11), and loopback.
const NEVER: &str = "169.254.0.0/16,fe80::/10,fd00:ec2::/32,127.0.0.0/8,::1,localhost";

/// An HTTP proxy, with user and password if it needs them. Neither `Display` nor `Debug` shows them.
#[derive(Clone, Debug)]
pub struct Proxy(Intercept);

impl Proxy {
    /// Reads `host:port` or a URL.
    ///
    /// # Errors
    /// What is allowed, without the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Proxy, Allowed> {
        let anywhere = Uri::from_static("https://example.com");
        let proxy = Matcher::builder().all(text).build().intercept(&anywhere);
        let is_http = |proxy: &Intercept| {
            [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&proxy.uri().scheme())
                && proxy.uri().host().is_some_and(|host| !host.is_empty())
        };
        proxy.filter(is_http).map(Proxy).ok_or_else(|| {
            "use http://host:port or http://user:password@host:port; percent-encode special characters, such as %40 for @"
                .into()
        })
    }

    /// Its URL.
    pub fn uri(&self) -> &Uri {
        self.0.uri()
    }

    /// The value of `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.0.basic_auth()
    }
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri().to_string().trim_end_matches('/'))
    }
}

/// The proxies of one output, and what bypasses them.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// A host, domain or network that bypasses the proxy, on one port or on all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    host: String,
    port: Option<u16>,
}

/// A variable of the environment that names no usable proxy. Its value is not repeated: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProxyVariable {
    name: &'static str,
    allowed: Allowed,
}

impl fmt::Display for InvalidProxyVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not valid: {}", self.name, self.allowed)
    }
}

impl Error for InvalidProxyVariable {}

impl Proxies {
    /// The proxy of the option, else those of `HTTPS_PROXY` and `HTTP_PROXY`; what `NO_PROXY` lists bypasses either.
    /// The variables may be in lower case too.
    ///
    /// # Errors
    /// When a variable that is used is not valid.
    pub fn new(
        configured: Option<Proxy>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Proxies, InvalidProxyVariable> {
        let variable = |name: &str| environment(name).or_else(|| environment(&name.to_ascii_lowercase()));
        let of_variable = |name: &'static str| match (&configured, variable(name)) {
            (Some(proxy), _) => Ok(Some(proxy.clone())),
            (None, Some(text)) => {
                Proxy::parse(&text).map(Some).map_err(|allowed| InvalidProxyVariable { name, allowed })
            }
            (None, None) => Ok(None),
        };
        let exceptions = variable("NO_PROXY").unwrap_or_default();
        let entries = exceptions.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        Ok(Proxies {
            http: of_variable("HTTP_PROXY")?,
            https: of_variable("HTTPS_PROXY")?,
            exceptions: entries.map(Exception::parse).collect(),
        })
    }

    /// The proxy for connections to a URL.
    pub(crate) fn proxy_for(&self, to: &Uri) -> Option<&Proxy> {
        let is_https = to.scheme() == Some(&Scheme::HTTPS);
        let proxy = if is_https { self.https.as_ref() } else { self.http.as_ref() }?;
        let port = to.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let mut bypass = NEVER.to_owned();
        for exception in self.exceptions.iter().filter(|exception| exception.port.is_none_or(|only| only == port)) {
            bypass.push(',');
            bypass.push_str(&exception.host);
        }
        let is_intercepted = Matcher::builder().all("http://any").no(bypass).build().intercept(to).is_some();
        is_intercepted.then_some(proxy)
    }
}

impl Exception {
    fn parse(entry: &str) -> Exception {
        let (host, port) = match entry.rsplit_once(':') {
            // In an IPv6 address without brackets, the last colon does not precede a port.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (entry, None),
            },
            _ => (entry, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // *.example.com is a common spelling of .example.com.
        let host = if host.parse::<IpAddr>().is_err() { host.strip_prefix("*.").unwrap_or(host) } else { host };
        Exception { host: host.to_owned(), port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Proxies::new(None, &find).unwrap()
    }

    fn way(proxies: &Proxies, to: &str) -> Option<String> {
        proxies.proxy_for(&to.parse().unwrap()).map(ToString::to_string)
    }

    const KINESIS: &str = "https://kinesis.eu-west-1.amazonaws.com/";

    #[test]
    fn a_proxy_is_a_host_with_a_port_or_a_url() {
        for (text, shown) in [
            ("proxy:3128", "http://proxy:3128"),
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://proxy:3128/", "http://proxy:3128"),
            ("https://proxy", "https://proxy"),
            ("http://[::1]:3128", "http://[::1]:3128"),
            ("http://user:word@proxy:3128", "http://proxy:3128"),
            ("user:word@proxy:3128", "http://proxy:3128"),
        ] {
            assert_eq!(Proxy::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for bad in ["", "socks5://proxy:1080", "ftp://proxy", "http://", "http://a b", "http://user:p@ss@"] {
            assert!(Proxy::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_and_password_become_basic_authorization_and_are_never_shown() {
        let proxy = Proxy::parse("http://us%3Aer:s%40cret@proxy:3128").unwrap();
        let authorization = proxy.authorization().unwrap();
        assert!(authorization.is_sensitive());
        assert_eq!(authorization, &format!("Basic {}", base64_simd::STANDARD.encode_to_string("us:er:s@cret")));
        let proxies = Proxies::new(Some(proxy.clone()), &|_| None).unwrap();
        for shown in
            [format!("{proxy} {proxy:?} {proxies:?}"), Proxy::parse("ftp://user:s@cret@proxy").unwrap_err().to_string()]
        {
            assert!(!shown.contains("cret") && !shown.contains("us:er") && !shown.contains("us%3A"), "{shown}");
        }
    }

    #[test]
    fn each_scheme_has_its_variable_in_either_case() {
        let upper = proxies(&[("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", "http://p:2"), ("https_proxy", "x:3")]);
        assert_eq!(way(&upper, KINESIS).as_deref(), Some("http://s:1"));
        assert_eq!(way(&upper, "http://10.0.0.1:4567").as_deref(), Some("http://p:2"));
        let lower = proxies(&[("https_proxy", "s:1"), ("no_proxy", ".example.com")]);
        assert_eq!(way(&lower, KINESIS).as_deref(), Some("http://s:1"));
        assert_eq!(way(&lower, "http://10.0.0.1:4567"), None);
        assert_eq!(way(&lower, "https://a.example.com"), None);
        assert_eq!(way(&proxies(&[("HTTP_PROXY", "http://p:2")]), KINESIS), None);
    }

    #[test]
    fn the_option_outranks_the_variables_and_is_for_both_schemes() {
        let option = Proxy::parse("http://option:1").unwrap();
        let environment = |name: &str| match name {
            "HTTPS_PROXY" => Some("not a proxy".to_owned()),
            "NO_PROXY" => Some("10.0.0.0/8".to_owned()),
            _ => None,
        };
        let proxies = Proxies::new(Some(option), &environment).unwrap();
        assert_eq!(way(&proxies, KINESIS).as_deref(), Some("http://option:1"));
        assert_eq!(way(&proxies, "http://192.0.2.1").as_deref(), Some("http://option:1"));
        assert_eq!(way(&proxies, "http://10.0.0.1"), None);
        let error = Proxies::new(None, &environment).unwrap_err().to_string();
        assert!(error.starts_with("HTTPS_PROXY is not valid: use http://host:port"), "{error}");
    }

    #[test]
    fn no_proxy_takes_names_suffixes_networks_ports_and_everything() {
        for (list, past, through) in [
            ("amazonaws.com", KINESIS, "https://amazonaws.com.example/"),
            (".amazonaws.com", KINESIS, "https://myamazonaws.com/"),
            ("*.amazonaws.com", KINESIS, "https://myamazonaws.com/"),
            ("KINESIS.eu-west-1.Amazonaws.com", KINESIS, "https://kinesis.eu-west-2.amazonaws.com/"),
            ("a.example, b.example", "https://b.example/", "https://c.example/"),
            ("a.example b.example", "https://b.example/", "https://c.example/"),
            ("a.example:443", "https://a.example/", "https://a.example:4567/"),
            ("a.example:4567", "https://a.example:4567/", "https://a.example/"),
            ("10.0.0.0/8", "https://10.255.0.1/", "https://11.0.0.1/"),
            ("10.1.2.3", "https://10.1.2.3/", "https://10.1.2.4/"),
            ("10.1.2.3:8443", "https://10.1.2.3:8443/", "https://10.1.2.3/"),
            ("fd12::/16", "https://[fd12::1]:4567/", "https://[fd13::1]/"),
            ("fd12::1", "https://[fd12::1]/", "https://[fd12::2]/"),
            ("[fd12::1]", "https://[fd12::1]/", "https://[fd12::2]/"),
            ("[fd12::1]:4567", "https://[fd12::1]:4567/", "https://[fd12::1]/"),
        ] {
            let proxies = proxies(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", list)]);
            assert_eq!(way(&proxies, past), None, "{list}");
            assert!(way(&proxies, through).is_some(), "{list}");
        }
        assert_eq!(way(&proxies(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")]), KINESIS), None);
        assert!(way(&proxies(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", " ,,:, a:b:c, [,%")]), KINESIS).is_some());
    }

    #[test]
    fn metadata_and_loopback_are_never_asked_through_a_proxy() {
        let proxies = proxies(&[("HTTPS_PROXY", "http://p:1"), ("HTTP_PROXY", "http://p:1")]);
        for to in [
            "http://169.254.169.254/latest/meta-data",
            "http://169.254.170.2/v2/credentials",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::254]/latest/meta-data",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://127.0.0.1:4566/",
            "https://localhost:4566/",
            "https://[::1]:4566/",
        ] {
            assert_eq!(way(&proxies, to), None, "{to}");
        }
        assert!(way(&proxies, "http://10.0.0.1/").is_some());
    }
}
