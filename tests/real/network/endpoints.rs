//! Where requests go, and what they show there.

use std::path::PathBuf;
use std::process::Command;

use kinesis::aws::endpoint::Endpoint;
use kinesis::aws::region::{Kind, Region};
use libtest_mimic::{Failed, Trial};
use rustls::version::{TLS12, TLS13};

use super::proxy_server::ProxyServer;
use super::relay::{Ending, Relay};
use super::stand_in::{KEY, SECRET, chunks, expect_all, instance, kinesis, kinesis_in};
use super::tls::certificates::Authority;
use super::{trial, trial_with};
use crate::flush::Instance;

pub fn trials() -> Vec<Trial> {
    vec![
        trial_with(botocore_is_missing, every_endpoint_of_every_region_is_that_of_botocore),
        trial(the_regions_endpoint_is_requested_by_its_name),
        trial(an_arn_brings_its_region_and_keeps_the_plain_host),
        trial(the_endpoint_of_variables_and_profile_is_used),
        trial(fips_and_an_endpoint_of_the_environment_contradict_each_other),
        trial_with(ipv6_is_missing, an_ipv6_address_is_an_endpoint),
        trial(the_user_agent_is_that_of_fluent_bits_own_plugins),
    ]
}

fn python() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python3")
}

fn botocore_is_missing() -> Option<String> {
    let import = Command::new(python()).args(["-c", "import botocore"]).output();
    let is_there = import.is_ok_and(|output| output.status.success());
    (!is_there).then(|| "botocore is not in .venv: make peers".to_owned())
}

/// botocore's own rules and partitions, evaluated for each region and kind.
const ASK_BOTOCORE: &str = r#"
import botocore.session
from botocore.endpoint_provider import EndpointProvider
loader = botocore.session.get_session().get_component("data_loader")
partitions = loader.load_data("partitions")
rules = EndpointProvider(loader.load_service_model("kinesis", "endpoint-rule-set-1"), partitions)
for partition in partitions["partitions"]:
    for region in partition["regions"]:
        if region.endswith("-global"):
            continue
        for fips in (False, True):
            for dual_stack in (False, True):
                endpoint = rules.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack)
                print(region, int(fips), int(dual_stack), endpoint.url)
"#;

fn every_endpoint_of_every_region_is_that_of_botocore() -> Result<(), Failed> {
    let output = Command::new(python()).args(["-c", ASK_BOTOCORE]).output()?;
    let (said, errors) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    let mut regions = 0;
    for line in said.lines() {
        let [region, fips, dual_stack, url] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("{line}{errors}").into());
        };
        let kind = Kind { fips: fips == "1", dual_stack: dual_stack == "1" };
        let ours = Endpoint::of_region(&Region::parse(region)?, kind).ok_or("no endpoint")?;
        assert_eq!(ours.to_string(), url, "{line}");
        regions += 1;
    }
    // Eight partitions, with more than forty regions, four kinds each.
    assert!(regions > 160, "{regions} endpoints: {errors}");
    Ok(())
}

/// Flushes to the endpoint that the instance finds; a proxy leads to the stand-in if `host` is requested.
fn flush_by_name(host: &str, region: &str, instance: Instance) -> Result<(), Failed> {
    let (kinesis, authority) = (kinesis_in(region), Authority::new()?);
    let relay = Relay::with_tls(kinesis.address(), authority.server(host)?.tls(&[&TLS12, &TLS13])?)?;
    let proxy = ProxyServer::start(&[(&format!("{host}:443"), relay.address())], None)?;
    let instance = instance.keys(KEY, SECRET).option("ca_bundle", &authority.file());
    let report = instance.environment("HTTPS_PROXY", &proxy.url("")).flush(&chunks(1))?;
    assert_eq!(proxy.asked(), [format!("CONNECT {host}:443 HTTP/1.1")]);
    expect_all(&kinesis, &report, 1)
}

fn the_regions_endpoint_is_requested_by_its_name() -> Result<(), Failed> {
    let instance = |region: &str| Instance::in_region("logs").option("region", region);
    let host = "kinesis.cn-north-1.amazonaws.com.cn";
    flush_by_name(host, "cn-north-1", instance("cn-north-1"))?;
    let host = "kinesis-fips.us-west-2.api.aws";
    let by_options = instance("us-west-2").option("use_fips_endpoint", "on").option("use_dualstack_endpoint", "on");
    flush_by_name(host, "us-west-2", by_options)?;
    let by_variables = instance("us-west-2")
        .environment("AWS_USE_FIPS_ENDPOINT", "true")
        .environment("AWS_USE_DUALSTACK_ENDPOINT", "true");
    flush_by_name(host, "us-west-2", by_variables)
}

/// The newest SDKs use a host with the account's number, which does not resolve in many private networks.
fn an_arn_brings_its_region_and_keeps_the_plain_host() -> Result<(), Failed> {
    let instance = Instance::in_region("arn:aws:kinesis:eu-west-3:123456789012:stream/logs").option("region", "");
    flush_by_name("kinesis.eu-west-3.amazonaws.com", "eu-west-3", instance)
}

fn the_endpoint_of_variables_and_profile_is_used() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config");
    let ways: [fn(Instance, &str) -> Instance; 4] = [
        |instance, url| instance.environment("AWS_ENDPOINT_URL", url),
        |instance, url| {
            instance.environment("AWS_ENDPOINT_URL_KINESIS", url).environment("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        },
        |instance, _| instance.environment("AWS_PROFILE", "plain"),
        |instance, _| instance.option("profile", "by-service"),
    ];
    for way in ways {
        let kinesis = kinesis();
        let url = kinesis.endpoint();
        let keys = format!("aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}");
        let text = format!(
            "[profile plain]\nendpoint_url = {url}\n{keys}\n\
             [profile by-service]\nservices = here\n{keys}\n\
             [services here]\nkinesis =\n  endpoint_url = {url}\n"
        );
        std::fs::write(&config, text)?;
        let instance = Instance::in_region("logs").keys(KEY, SECRET);
        let instance = instance.environment("AWS_CONFIG_FILE", &config.display().to_string());
        expect_all(&kinesis, &way(instance, &url).flush(&chunks(1))?, 1)?;
    }
    // The option takes precedence over the variables.
    let kinesis = kinesis();
    let instance = instance(kinesis.endpoint()).environment("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:9");
    expect_all(&kinesis, &instance.flush(&chunks(1))?, 1)?;
    // And what should be ignored is.
    let instance = Instance::in_region("logs").keys(KEY, SECRET).option("retries_on_batch_request", "0");
    let instance = instance
        .environment("AWS_ENDPOINT_URL", &kinesis.endpoint())
        .environment("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
        .environment("HTTPS_PROXY", "http://127.0.0.1:9");
    let report = instance.flush(&chunks(1))?;
    report.expect("Retry")?;
    assert!(report.log.iter().any(|(_, line)| line.contains("at https://kinesis.us-east-1.amazonaws.com")));
    Ok(())
}

fn fips_and_an_endpoint_of_the_environment_contradict_each_other() -> Result<(), Failed> {
    let instance = instance("http://127.0.0.1:9".to_owned()).environment("AWS_USE_FIPS_ENDPOINT", "true");
    let failed = instance.flush(&chunks(1)).expect_err("it must not start");
    let line = "use_fips_endpoint: conflicts with the endpoint 'http://127.0.0.1:9'";
    assert!(failed.message().is_some_and(|text| text.contains(line)), "{failed:?}");
    Ok(())
}

fn ipv6_is_missing() -> Option<String> {
    std::net::TcpListener::bind("[::1]:0").err().map(|error| format!("no IPv6: {error}"))
}

/// The stand-in checks the signature against the `Host` it received, brackets and port included.
fn an_ipv6_address_is_an_endpoint() -> Result<(), Failed> {
    let (kinesis, authority) = (kinesis(), Authority::new()?);
    let tls = authority.server("::1")?.tls(&[&TLS13])?;
    let relay = Relay::start("[::1]:0", kinesis.address(), Some(tls), Ending::Never)?;
    let endpoint = relay.url("https", "[::1]");
    let report = instance(endpoint).option("ca_bundle", &authority.file()).flush(&chunks(1))?;
    expect_all(&kinesis, &report, 1)?;
    drop(relay);
    let relay = Relay::start("[::1]:0", kinesis.address(), None, Ending::Never)?;
    let report = instance(relay.url("http", "[::1]")).flush(&chunks(1))?;
    report.expect("Delivered")
}

fn the_user_agent_is_that_of_fluent_bits_own_plugins() -> Result<(), Failed> {
    let kinesis = kinesis();
    let in_ecs = instance(kinesis.endpoint()).environment("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/x");
    expect_all(&kinesis, &in_ecs.flush(&chunks(1))?, 1)?;
    let expected = concat!("aws-fluent-bit-plugin-ecs fluent-bit-kinesis/", env!("CARGO_PKG_VERSION"));
    assert_eq!(kinesis.requests()[0].user_agent, expected);
    Ok(())
}
