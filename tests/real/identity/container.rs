//! The endpoints that ECS and EKS Pod Identity give to a container
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).

use std::fs;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

use super::child::Setup;
use super::http::{Reply, Server};
use super::issuer::{Issued, Issuer};
use super::life::{LIFE, deliver, lead_through_refusal, wait_for};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(credentials_of_a_container),
        Trial::ignorable_test("container::credentials_of_a_container_over_ipv6", credentials_of_a_container_over_ipv6),
        trial(the_token_file_is_read_again_for_each_renewal),
        trial(a_container_that_is_refused_does_not_write_as_the_node),
        trial(a_plain_address_outside_of_the_machine_is_not_asked),
    ]
}

fn words(issued: &Issued) -> String {
    format!(
        r#"{{"AccessKeyId":"{}","SecretAccessKey":"{}","Token":"{}","Expiration":"{}","AccountId":"123456789012"}}"#,
        issued.key,
        issued.secret,
        issued.token,
        issued.expiration()
    )
}

/// An agent on `address` that answers requests with the token.
pub fn agent(address: &str, issuer: &Issuer, token: &Arc<Mutex<String>>) -> io::Result<Server> {
    let (issuer, token) = (issuer.clone(), Arc::clone(token));
    Server::on(address, move |request| {
        match request.path == "/v1/credentials" && request.header("authorization") == *token.lock().unwrap() {
            true => issuer.answer(words),
            false => Reply::Status(401, "{}".to_owned()),
        }
    })
}

fn setup(issuer: &Issuer, agent: &Server) -> Setup {
    Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/credentials", agent.url()))
}

/// The life of them does not depend on the address.
fn deliver_on(address: &str) -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let agent = agent(address, &issuer, &Arc::new(Mutex::new("T0k3n".to_owned())))?;
    let setup = setup(&issuer, &agent).environment("AWS_CONTAINER_AUTHORIZATION_TOKEN", "T0k3n");
    deliver(&issuer, setup, "of account 123456789012 from container")
}

fn credentials_of_a_container() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let agent = agent("127.0.0.1:0", &issuer, &Arc::new(Mutex::new("T0k3n".to_owned())))?;
    let setup = setup(&issuer, &agent).environment("AWS_CONTAINER_AUTHORIZATION_TOKEN", "T0k3n");
    let place = "of account 123456789012 from container";
    lead_through_refusal(&issuer, setup, place, (403, "out of order"), &["container: ", "403"])
}

fn credentials_of_a_container_over_ipv6() -> Result<Completion, Failed> {
    match TcpListener::bind("[::1]:0") {
        Ok(_) => deliver_on("[::1]:0").map(|()| Completion::Completed),
        Err(error) => Ok(Completion::ignored_with(format!("this machine has no IPv6: {error}"))),
    }
}

/// EKS writes a new token long before the old one expires; its agent accepts no old ones.
fn the_token_file_is_read_again_for_each_renewal() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let token = Arc::new(Mutex::new("T0k3n-1".to_owned()));
    let agent = agent("127.0.0.1:0", &issuer, &token)?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(&file, "T0k3n-1")?;
    let path = file.path().display().to_string();
    let mut plugin = setup(&issuer, &agent).environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &path).start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    "T0k3n-2".clone_into(&mut token.lock().unwrap());
    fs::write(&file, "T0k3n-2")?;
    wait_for(&plugin, 4 * LIFE, || agent.requests().len() >= 3)?;
    plugin.expect("Delivered")?;
    let brought: Vec<String> = agent.requests().iter().map(|r| r.header("authorization").to_owned()).collect();
    assert_eq!(brought[0], "T0k3n-1");
    assert!(brought.len() >= 3 && brought[1..].iter().all(|token| token == "T0k3n-2"), "{brought:?}");

    // The log names a file that is gone.
    let gone = file.path().to_owned();
    drop(file);
    thread::sleep(LIFE + Duration::from_secs(4));
    plugin.expect("Retry")?;
    assert!(!gone.exists());
    plugin.expect_line(&["no credentials", "container: ", "No such file"])?;
    plugin.stop()
}

fn a_container_that_is_refused_does_not_write_as_the_node() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let agent = agent("127.0.0.1:0", &issuer, &Arc::new(Mutex::new("another".to_owned())))?;
    let node = Server::start(|_| Reply::Status(200, "node".to_owned()))?;
    let setup = setup(&issuer, &agent)
        .environment("AWS_EC2_METADATA_DISABLED", "false")
        .environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", node.url());
    let mut plugin = setup.start()?;
    plugin.started()?;
    plugin.expect("Retry")?;
    plugin.expect_line(&["Warn no credentials: environment: ", "web identity: ", "container: ", "401"])?;
    assert_eq!(node.requests().len(), 0);
    plugin.stop()
}

fn a_plain_address_outside_of_the_machine_is_not_asked() -> Result<(), Failed> {
    let issuer = Issuer::new(LIFE);
    let plugin = Setup::new(&issuer.kinesis().endpoint())
        .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/v1/credentials")
        .environment("AWS_CONTAINER_AUTHORIZATION_TOKEN", "T0k3n")
        .start()?;
    plugin.started()?;
    plugin.expect_line(&["container: ", "URI did not refer to an allowed IP address"])?;
    plugin.stop()
}
