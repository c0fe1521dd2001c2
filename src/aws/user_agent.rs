//! The `User-Agent` of requests.
//!
//! AWS counts the environments that Fluent Bit runs in by this header, so it begins as in AWS's own plugins.

use http::header::HeaderValue;

/// The header's value, such as `aws-fluent-bit-plugin-ecs fluent-bit-kinesis/0.1.0`. The platform is found as in
/// Fluent Bit's `flb_aws_util.c`: `FLB_AWS_USER_AGENT`, else ECS, else Kubernetes.
pub(crate) fn user_agent(environment: &dyn Fn(&str) -> Option<String>) -> HeaderValue {
    const ALONE: HeaderValue =
        HeaderValue::from_static(concat!("aws-fluent-bit-plugin fluent-bit-kinesis/", env!("CARGO_PKG_VERSION")));
    let configured = environment("FLB_AWS_USER_AGENT");
    let platform = match &configured {
        Some(configured) => configured.as_str(),
        None if environment("ECS_CONTAINER_METADATA_URI_V4").is_some() => "ecs",
        None if environment("k8s").is_some_and(|value| value.eq_ignore_ascii_case("enabled")) => "k8s",
        None => "none",
    };
    if platform.eq_ignore_ascii_case("none") {
        return ALONE;
    }
    let text = format!("aws-fluent-bit-plugin-{platform} fluent-bit-kinesis/{}", env!("CARGO_PKG_VERSION"));
    HeaderValue::try_from(text).unwrap_or(ALONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(variables: &[(&str, &str)]) -> String {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let (fluent_bit, ours) = user_agent(&find).to_str().unwrap().split_once(' ').map(own).unwrap();
        assert_eq!(ours, concat!("fluent-bit-kinesis/", env!("CARGO_PKG_VERSION")));
        fluent_bit
    }

    fn own((one, two): (&str, &str)) -> (String, String) {
        (one.to_owned(), two.to_owned())
    }

    #[test]
    fn it_begins_as_that_of_fluent_bits_own_plugins() {
        let ecs = ("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/x");
        let kubernetes = ("k8s", "enabled");
        assert_eq!(agent(&[]), "aws-fluent-bit-plugin");
        assert_eq!(agent(&[ecs]), "aws-fluent-bit-plugin-ecs");
        assert_eq!(agent(&[kubernetes]), "aws-fluent-bit-plugin-k8s");
        assert_eq!(agent(&[("k8s", "disabled")]), "aws-fluent-bit-plugin");
        assert_eq!(agent(&[ecs, kubernetes]), "aws-fluent-bit-plugin-ecs");
        assert_eq!(agent(&[ecs, ("FLB_AWS_USER_AGENT", "init")]), "aws-fluent-bit-plugin-init");
        assert_eq!(agent(&[ecs, ("FLB_AWS_USER_AGENT", "none")]), "aws-fluent-bit-plugin");
    }

    #[test]
    fn what_no_header_can_hold_is_left_out() {
        assert_eq!(agent(&[("FLB_AWS_USER_AGENT", "a\nb: c")]), "aws-fluent-bit-plugin");
    }
}
