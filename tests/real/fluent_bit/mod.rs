//! The plugin in the real Fluent Bit: configurations, delivery, and the ways in which a process ends.
//!
//! `FLUENT_BIT` names the programs to test with, separated by colons; without it, `fluent-bit` is searched for on the
//! PATH. Without any, every test is reported as ignored for that reason, and so is a claim that a version of Fluent
//! Bit cannot keep.
//!
//! With `UPDATE` set, what was found out about these versions is written to docs/compatibility.md.

mod compatibility;
mod configuration;
mod delivery;
mod deployed;
mod features;
pub mod host;
mod killed;
mod known_faults;
mod log;
mod metrics;
mod records;
mod shipped;
pub mod stand_in;
mod stopping;

use std::env;
use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};

use features::Feature;
use host::{Binary, Version};
use testing::sources::root;

pub use compatibility::update;

/// A claim that holds in Fluent Bit, or in the versions with some feature.
pub struct Claim {
    name: String,
    needs: Option<&'static Feature>,
    /// What the claim runs and this machine lacks.
    lacks: Option<String>,
    check: Check,
}

type Check = Box<dyn Fn(&Binary) -> Result<(), Failed> + Send>;

impl Claim {
    /// A claim for every version.
    pub fn new(name: &str, check: impl Fn(&Binary) -> Result<(), Failed> + Send + 'static) -> Claim {
        Claim { name: name.to_owned(), needs: None, lacks: None, check: Box::new(check) }
    }

    /// Restricts the claim to the versions with a feature.
    pub fn needs(self, feature: &'static Feature) -> Claim {
        Claim { needs: Some(feature), ..self }
    }

    /// Leaves the claim unchecked where `program` is not on the PATH.
    pub fn runs(self, program: &'static str) -> Claim {
        let is_there = |folder: PathBuf| folder.join(program).is_file();
        let path = env::var_os("PATH").unwrap_or_default();
        match env::split_paths(&path).any(is_there) {
            true => self,
            false => self.lacks(&format!("{program} on the PATH")),
        }
    }

    /// Leaves the claim unchecked without a file of a peer, or fails it where peers have just been installed.
    pub fn runs_peer(self, peer: &str, file: &str) -> Claim {
        let what = format!("{peer}, which `make peers` installs");
        match (root().join(file).exists(), env::var_os("PEERS")) {
            (true, _) => self,
            (false, None) => self.lacks(&what),
            (false, Some(_)) => Claim { check: Box::new(move |_| Err(format!("no {what}").into())), ..self },
        }
    }

    /// Leaves the claim unchecked.
    pub fn lacks(self, what: &str) -> Claim {
        Claim { lacks: Some(what.to_owned()), ..self }
    }
}

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = match binaries() {
        Ok(binaries) => binaries.iter().flat_map(trials_with).collect(),
        Err(reason) => claims().into_iter().map(|claim| not_run(claim.name, reason.clone())).collect(),
    };
    trials.extend(compatibility::trials());
    trials
}

fn claims() -> Vec<Claim> {
    [
        features::claims(),
        shipped::claims(),
        deployed::claims(),
        configuration::claims(),
        log::claims(),
        delivery::claims(),
        stopping::claims(),
        killed::claims(),
        metrics::claims(),
        records::claims(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn trials_with(binary: &Binary) -> Vec<Trial> {
    let trial = |claim: Claim| {
        let name = format!("{}::{}", text(binary.version), claim.name);
        if let Some(missing) = claim.needs.filter(|feature| binary.version < feature.since) {
            compatibility::not_run(binary);
            return not_run(name, format!("only since Fluent Bit {}: {}", text(missing.since), missing.title));
        }
        if let Some(what) = claim.lacks {
            return not_run(name, format!("no {what}"));
        }
        let binary = binary.clone();
        compatibility::begins(&binary);
        Trial::test(name, move || (claim.check)(&binary).inspect(|()| compatibility::passed(&binary)))
    };
    claims().into_iter().map(trial).collect()
}

/// A version as it is written.
pub fn text((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
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
pub fn note(binary: &Binary, what: &str) {
    eprintln!("note: {}: {what}", text(binary.version));
}
