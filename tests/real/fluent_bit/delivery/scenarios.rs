//! The scenarios of examples/, as their READMEs tell to try them.

use std::fs;
use std::time::Duration;

use libtest_mimic::Failed;
use tempfile::TempDir;

use super::quick_start::PORT;
use super::typed::{Step, lay_out, steps, take};
use crate::fluent_bit::host::Binary;
use crate::fluent_bit::metrics::free_port;
use crate::fluent_bit::{Claim, features};
use testing::sources::{File, files, read};

/// examples/README.md promises two minutes, for a person.
const PATIENCE: Duration = Duration::from_secs(120);

/// It needs a cluster. `deploy` checks what it says.
const KIND: &str = "kind";

/// The folders with a README.
fn scenarios() -> Vec<String> {
    let readmes = files("examples", "/README.md").into_iter();
    let folder = |file: File| Some(file.path.strip_prefix("examples/")?.strip_suffix("/README.md")?.to_owned());
    let found: Vec<String> = readmes.filter_map(folder).filter(|name| name != KIND).collect();
    assert!(found.len() >= 5, "{found:?}");
    found
}

pub fn claims() -> Vec<Claim> {
    scenarios().into_iter().map(claim).collect()
}

fn claim(name: String) -> Claim {
    let is_in = |ending: &str, text: &str| {
        files(&format!("examples/{name}"), ending).iter().any(|file| file.text.contains(text))
    };
    let needed = match () {
        () if is_in(".yaml", "\n    - name: kinesis_streams\n") => &features::PORT_OF_C,
        () if is_in(".yaml", "\nparsers:\n") => &features::YAML_PARSERS,
        () => &features::YAML,
    };
    let takes_ministack = is_in("README.md", "ministack\n");
    let test = format!("the_readme_of_{}_shows_what_it_says", name.replace('-', "_"));
    let claim = Claim::new(&test, move |binary| as_written(binary, &name)).needs(needed).runs("curl");
    if takes_ministack { claim.runs_peer("ministack", ".venv/bin/ministack") } else { claim }
}

fn as_written(binary: &Binary, name: &str) -> Result<(), Failed> {
    let (folder, port) = (TempDir::new()?, free_port()?.to_string());
    lay_out(folder.path(), binary)?;
    // As a reader copies it.
    fs::create_dir_all(folder.path().join("examples").join(name))?;
    for file in files(&format!("examples/{name}"), "") {
        fs::write(folder.path().join(&file.path), file.text.replace(PORT, &port))?;
    }
    fs::write(folder.path().join("examples/local.sh"), read("examples/local.sh").replace(PORT, &port))?;
    let readme = read(&format!("examples/{name}/README.md")).replace(PORT, &port);
    let steps: Vec<Step> = steps(&readme, "## Try it").into_iter().filter(|step| !installs(step)).collect();
    match steps.as_slice() {
        [.., Step::PressCtrlC, Step::See(counts)] if counts.contains("] stopped: ") => {
            take(&steps, folder.path(), PATIENCE)
        }
        _ => Err(format!("it does not end with the counts: {steps:?}").into()),
    }
}

/// Whether this only installs what `make peers` has installed.
fn installs(step: &Step) -> bool {
    let peers = read("tests/real/peers/requirements.in");
    let Step::Type(command) = step else { return false };
    let packages = command.trim().strip_prefix("pip install ");
    packages.is_some_and(|packages| packages.split(' ').all(|name| peers.contains(&format!("\n{name}=="))))
}
