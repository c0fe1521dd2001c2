//! docs/local.md, as its reader types it: each of its servers is started and sent to, and what it has is looked at.

use std::os::unix::fs::symlink;
use std::time::Duration;

use libtest_mimic::Failed;
use tempfile::TempDir;

use super::typed::{Step, lay_out, steps, take};
use crate::fluent_bit::Claim;
use crate::fluent_bit::host::Binary;
use crate::peers::servers::{free_ports, node_modules};
use testing::sources::read;

/// The stand-in throttles one record of ten, and gets one a second.
const PATIENCE: Duration = Duration::from_secs(120);
const SEND: &str = "Send and read back";
/// Of the server that this section sends to.
const SENT_TO: &str = "127.0.0.1:5000";

/// A server of the page.
struct Server {
    /// Its section, which has its name.
    heading: &'static str,
    /// Its port on the page. Here it is replaced by a free one: tests run side by side.
    port: &'static str,
    /// What moves those of its ports that the page leaves as they are.
    moves: &'static str,
    /// What `make peers` installs for it, by name and file.
    peers: &'static [(&'static str, &'static str)],
}

const AWS: (&str, &str) = ("the AWS CLI", ".venv/bin/aws");
const SERVERS: [Server; 4] = [
    Server { heading: "The stand-in of this project", port: "4567", moves: "", peers: &[] },
    Server {
        heading: "kinesis-local",
        port: "4568",
        moves: "export KINESIS_MOCK_TLS_PORT=OTHER\n",
        peers: &[("kinesis-local", "node_modules/kinesis-local/main.js"), AWS],
    },
    Server {
        heading: "ministack",
        port: "4566",
        moves: "export GATEWAY_PORT=4566\n",
        peers: &[("ministack", ".venv/bin/ministack"), AWS],
    },
    Server { heading: "moto", port: "5000", moves: "", peers: &[("moto", ".venv/bin/moto_server"), AWS] },
];

pub fn claims() -> Vec<Claim> {
    let page = read("docs/local.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, SERVERS.iter().map(|server| server.heading).chain([SEND]).collect::<Vec<_>>());
    SERVERS.iter().map(claim).collect()
}

fn claim(server: &'static Server) -> Claim {
    let name =
        format!("what_is_sent_to_{}_is_what_the_page_shows", server.heading.to_lowercase().replace([' ', '-'], "_"));
    let claim = Claim::new(&name, |binary| as_written(binary, server));
    let claim = if server.heading == "kinesis-local" { claim.runs("node") } else { claim.runs("curl") };
    server.peers.iter().fold(claim, |claim, (peer, file)| claim.runs_peer(peer, file))
}

fn as_written(binary: &Binary, server: &Server) -> Result<(), Failed> {
    let [port, other] = free_ports()?.map(|port| port.to_string());
    let here = |text: &str| text.replace(server.port, &port).replace("OTHER", &other);
    let page = installed(&read("docs/local.md"))?.replace(SENT_TO, &format!("127.0.0.1:{}", server.port));
    let (page, moves) = (here(&page), here(server.moves));
    let (own, common) = (steps(&page, &format!("## {}", server.heading)), steps(&page, &format!("## {SEND}")));
    let in_the_third = |steps: &[Step]| steps.iter().position(|step| *step == Step::Go(2)).unwrap_or(steps.len());
    let (start, own_look) = own.split_at(in_the_third(&own));
    let (send, look) = common.split_at(in_the_third(&common));
    let look = if own_look.is_empty() { look } else { own_look };
    match (start, send, look) {
        (
            [Step::Type(_)] | [Step::Type(_), Step::See(_)] | [Step::Type(_), Step::See(_), Step::Go(1), Step::Type(_)],
            [Step::Go(1), Step::Type(_), Step::See(_)],
            [Step::Go(2), Step::Type(_), Step::See(_)],
        ) => {}
        other => return Err(format!("the page tells something else: {other:?}").into()),
    }
    let folder = TempDir::new()?;
    lay_out(folder.path(), binary)?;
    symlink(node_modules(), folder.path().join("node_modules"))?;
    take(&[&[Step::Type(&moves)], start, send, look].concat(), folder.path(), PATIENCE)
}

/// The page without the lines that install a server: `make peers` has done so, and pins what they name.
fn installed(page: &str) -> Result<String, Failed> {
    let (mut rest, mut found) = (String::new(), 0);
    for line in page.lines() {
        let Some((program, package)) = line.split_once(" install ") else {
            rest += &format!("{line}\n");
            continue;
        };
        let package = package.trim_matches('\'');
        let version = pinned(program, package).ok_or(format!("{package} is not pinned for {program}"))?;
        let name = package.split('[').next().unwrap_or_default();
        let row =
            page.lines().find(|row| row.starts_with(&format!("| [{name}]("))).ok_or(format!("no row of {name}"))?;
        let tried = row.split([')', '|']).nth(2).unwrap_or_default().trim();
        if tried.is_empty() || !format!("{version}.").starts_with(&format!("{tried}.")) {
            return Err(format!("the page has {name} '{tried}', and {version} is pinned").into());
        }
        found += 1;
    }
    if found == SERVERS.len() - 1 { Ok(rest) } else { Err(format!("{found} servers are installed").into()) }
}

/// The version of a package that `make peers` installs.
fn pinned(program: &str, package: &str) -> Option<String> {
    if program == "npm" {
        let peers: serde_json::Value = serde_json::from_str(&read("package.json")).ok()?;
        return Some(peers["devDependencies"][package].as_str()?.to_owned());
    }
    let peers = read("tests/real/peers/requirements.in");
    let line = peers.lines().find_map(|line| line.strip_prefix(&format!("{package}==")))?;
    Some(line.split_whitespace().next()?.to_owned())
}
