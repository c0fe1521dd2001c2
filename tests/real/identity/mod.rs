//! Every kind of credentials, from loopback servers that behave like AWS's: first fetch, renewal, outage, later
//! corrections, and refusals, which the log explains without secrets.

pub mod addresses;
pub mod child;
mod chunk;
mod container;
mod endless;
mod environment;
mod files;
mod http;
mod instance;
mod issuer;
mod life;
mod options;
pub mod process;
mod sso;
mod sts;
mod web_identity;

use libtest_mimic::{Failed, Trial};

pub fn trials() -> Vec<Trial> {
    let trials = [
        addresses::trials(),
        container::trials(),
        endless::trials(),
        environment::trials(),
        files::trials(),
        instance::trials(),
        options::trials(),
        process::trials(),
        sso::trials(),
        sts::trials(),
        web_identity::trials(),
    ];
    trials.into_iter().flatten().collect()
}

/// A test, named by the path of its function.
fn trial<T: Fn() -> Result<(), Failed> + Send + 'static>(test: T) -> Trial {
    Trial::test(std::any::type_name::<T>().trim_start_matches("real::identity::"), test)
}
