//! A region, and which hosts its services have.

use std::fmt;

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

    /// The domains its services are under, without and with IPv6. Source: AWS's `partitions.json`
    /// (<https://github.com/boto/botocore/blob/develop/botocore/data/partitions.json>, read 2026-11).
    fn domains(&self) -> (&'static str, &'static str) {
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

    /// The host of Kinesis, as `endpoint-rule-set-1.json` of the same source has it.
    pub(super) fn host(&self, kind: Kind) -> String {
        let (domain, dual_stack_domain) = self.domains();
        let domain = if kind.dual_stack { dual_stack_domain } else { domain };
        // In GovCloud every endpoint is FIPS's; the one of this name has no other.
        let is_named_so = kind.fips && (kind.dual_stack || !self.0.starts_with("us-gov-"));
        format!("kinesis{}.{self}.{domain}", if is_named_so { "-fips" } else { "" })
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
    /// With cryptography validated by FIPS 140, on the server's side. Not every region has one.
    pub fips: bool,
    /// With IPv6 beside IPv4.
    pub dual_stack: bool,
}
