//! The fixed addresses of AWS's metadata services: each test has its own network, with them on its loopback. Without
//! namespaces or their tools, the tests are reported as ignored.

use std::process::{Command, ExitCode, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, io};

use libtest_mimic::{Completion, Failed, Trial};

use super::child::Setup;
use super::container::agent;
use super::instance::server_on;
use super::issuer::Issuer;
use super::life::deliver;
use crate::finish;
use testing::programs::said;

/// The argument that makes this program run a test inside the network, followed by its name.
pub const INSIDE: &str = "--in-a-network";

const AN_HOUR: Duration = Duration::from_secs(3600);

type Test = fn() -> Result<(), Failed>;

const TESTS: [(&str, Test); 5] = [
    ("addresses::the_agent_of_ecs_is_at_its_address", the_agent_of_ecs_is_at_its_address),
    ("addresses::the_agent_of_eks_is_at_its_address", || the_agent_of_eks_is_at("169.254.170.23")),
    ("addresses::the_agent_of_eks_is_at_its_address_of_ipv6", || the_agent_of_eks_is_at("[fd00:ec2::23]")),
    ("addresses::the_metadata_service_is_at_its_address", || the_metadata_service_is_at("169.254.169.254", "IPv4")),
    ("addresses::the_metadata_service_is_at_its_address_of_ipv6", || {
        the_metadata_service_is_at("[fd00:ec2::254]", "IPv6")
    }),
];

pub fn trials() -> Vec<Trial> {
    TESTS.iter().map(|(name, _)| Trial::ignorable_test(*name, || in_a_network(name))).collect()
}

/// A network whose loopback has AWS's addresses.
fn network(command: &str) -> io::Result<Output> {
    let up = "ip link set lo up && \
              for host in 169.254.170.2 169.254.170.23 169.254.169.254; do ip address add $host/32 dev lo; done && \
              for host in fd00:ec2::23 fd00:ec2::254; do ip address add $host/128 dev lo nodad; done";
    Command::new("unshare").args(["--net", "sh", "-c", &format!("{up} && {command}")]).output()
}

fn in_a_network(name: &str) -> Result<Completion, Failed> {
    if !network("true").is_ok_and(|output| output.status.success()) {
        return Ok(Completion::ignored_with("no namespaces: needs unshare and ip, and the right to them"));
    }
    let output = network(&format!("'{}' {INSIDE} {name}", std::env::current_exe()?.display()))?;
    match output.status.success() {
        true => Ok(Completion::Completed),
        false => Err(said(&output).into()),
    }
}

/// Inside: runs the test with that name.
pub fn run(name: &str) -> ExitCode {
    let Some((_, test)) = TESTS.iter().find(|(known, _)| *known == name) else { return ExitCode::FAILURE };
    finish(test())
}

fn the_agent_of_ecs_is_at_its_address() -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    // The agent of ECS requires no token.
    agent("169.254.170.2:80", &issuer, &Arc::new(Mutex::new(String::new())))?;
    let setup = Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v1/credentials");
    deliver(&issuer, setup, "from container")
}

fn the_agent_of_eks_is_at(host: &str) -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    agent(&format!("{host}:80"), &issuer, &Arc::new(Mutex::new("T0k3n".to_owned())))?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(&file, "T0k3n")?;
    let setup = Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("http://{host}/v1/credentials"))
        .environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file.path().display().to_string());
    deliver(&issuer, setup, "from container")
}

fn the_metadata_service_is_at(host: &str, mode: &str) -> Result<(), Failed> {
    let issuer = Issuer::new(AN_HOUR);
    server_on(&format!("{host}:80"), &issuer)?;
    let setup = Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_EC2_METADATA_DISABLED", "false")
        .environment("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", mode);
    deliver(&issuer, setup, "from instance")
}
