//! The plugin in the real Fluent Bit: configurations, delivery, and the ways in which a process ends.
//!
//! `FLUENT_BIT` names the programs to test with, separated by colons; without it, `fluent-bit` is searched for on the
//! PATH. Without any, every test is reported as ignored for that reason, and so is a claim that a version of Fluent
//! Bit cannot keep.

mod configuration;
mod delivery;
mod deployed;
pub mod host;
mod killed;
mod known_faults;
mod log;
mod metrics;
mod shipped;
pub mod stand_in;
mod stopping;

use std::env;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use host::{Binary, Version};

/// A claim that holds in Fluent Bit since some version.
pub struct Claim {
    name: String,
    since: Version,
    /// Why it does not hold before.
    before: &'static str,
    check: Check,
}

type Check = Box<dyn Fn(&Binary) -> Result<(), Failed> + Send>;

impl Claim {
    /// A claim for every version.
    pub fn new(name: &str, check: impl Fn(&Binary) -> Result<(), Failed> + Send + 'static) -> Claim {
        Claim { name: name.to_owned(), since: (0, 0, 0), before: "", check: Box::new(check) }
    }

    /// Restricts the claim to `version` and later; `before` says why.
    pub fn since(self, version: Version, before: &'static str) -> Claim {
        Claim { since: version, before, ..self }
    }
}

pub fn trials() -> Vec<Trial> {
    match binaries() {
        Ok(binaries) => binaries.iter().flat_map(trials_with).collect(),
        Err(reason) => claims().into_iter().map(|claim| not_run(claim.name, reason.clone())).collect(),
    }
}

fn claims() -> Vec<Claim> {
    [
        shipped::claims(),
        deployed::claims(),
        configuration::claims(),
        log::claims(),
        delivery::claims(),
        stopping::claims(),
        killed::claims(),
        metrics::claims(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn trials_with(binary: &Binary) -> Vec<Trial> {
    let (major, minor, patch) = binary.version;
    let trial = |claim: Claim| {
        let name = format!("{major}.{minor}.{patch}::{}", claim.name);
        if binary.version < claim.since {
            return not_run(name, claim.before.to_owned());
        }
        let binary = binary.clone();
        Trial::test(name, move || (claim.check)(&binary))
    };
    claims().into_iter().map(trial).collect()
}

/// A test that is reported as ignored, and fails if it is run nevertheless.
pub fn not_run(name: String, reason: String) -> Trial {
    Trial::test(name, {
        let reason = reason.clone();
        move || Err(reason.into())
    })
    .with_kind(reason)
    .with_ignored_flag(true)
}

/// The Fluent Bits to test with. A program that `FLUENT_BIT` names but that does not run is an error, not a reason to
/// skip.
pub fn binaries() -> Result<Vec<Binary>, String> {
    let named: Vec<PathBuf> = match env::var_os("FLUENT_BIT") {
        Some(paths) => env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .map(|directory| directory.join("fluent-bit"))
            .filter(|path| path.is_file())
            .take(1)
            .collect(),
    };
    if named.is_empty() {
        return Err("no fluent-bit on the PATH, and FLUENT_BIT names none".to_owned());
    }
    Ok(named.iter().map(|path| Binary::at(path).unwrap()).collect())
}

/// Prints a measured number that no test judges.
pub fn note(binary: &Binary, text: &str) {
    let (major, minor, patch) = binary.version;
    eprintln!("note: {major}.{minor}.{patch}: {text}");
}

/// The project's directory.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
