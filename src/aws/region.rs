//! Regions, and the host names of Kinesis in them.

use std::fmt;

use crate::error::Allowed;

/// A region's name, such as `us-east-1`. Not checked against a list: AWS adds regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl Region {
    /// Reads a region's name.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Region, Allowed> {
        let is_label = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if text.is_empty() || text.len() > 63 || text.starts_with('-') || text.ends_with('-') || !is_label {
            return Err("use a region's name, such as us-east-1".into());
        }
        Ok(Region(text.to_owned()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domains of its services, for IPv4 and for dual stack. Source: AWS's `partitions.json`
    /// (<https://github.com/boto/botocore/blob/develop/botocore/data/partitions.json>, read 2026-11).
    pub(super) fn domains(&self) -> (&'static str, &'static str) {
        const DOMAINS: [(&str, &str, &str); 6] = [
            ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
            ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
            ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
            ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
            ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
            ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
        ];
        let found = DOMAINS.iter().find(|(prefix, _, _)| self.0.starts_with(prefix));
        found.map_or(("amazonaws.com", "api.aws"), |&(_, domain, dual_stack)| (domain, dual_stack))
    }

    /// The host name of Kinesis, by `endpoint-rule-set-1.json` of the same source.
    pub(super) fn host(&self, kind: Kind) -> String {
        let (domain, dual_stack_domain) = self.domains();
        let domain = if kind.dual_stack { dual_stack_domain } else { domain };
        // In GovCloud the plain endpoint is already FIPS, and there is no other.
        let has_suffix = kind.fips && (kind.dual_stack || !self.0.starts_with("us-gov-"));
        format!("kinesis{}.{self}.{domain}", if has_suffix { "-fips" } else { "" })
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of a region's public endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// With cryptography validated by FIPS 140 on the server. Not every region has one.
    pub fips: bool,
    /// Reachable over IPv4 and IPv6.
    pub dual_stack: bool,
}
