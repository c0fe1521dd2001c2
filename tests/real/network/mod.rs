//! The path to Kinesis: endpoints, proxies, certificates, key exchange, connections that end, names with several
//! addresses, endless replies, and a machine short of resources.
//!
//! Between plugin and stand-in are our own relays and proxies ([`relay`], [`proxy_server`]), with our own
//! certificates ([`tls::certificates`]). A test whose tool is missing (botocore, namespaces, IPv6) is reported as
//! ignored, with the reason.

mod connections;
mod endpoints;
mod limits;
mod metadata;
pub mod namespaces;
mod proxies;
mod proxy_server;
mod relay;
mod replies;
pub mod shortages;
mod stand_in;
mod tls;
mod trust;

use libtest_mimic::{Completion, Failed, Trial};

pub fn trials() -> Vec<Trial> {
    let trials = [
        trust::trials(),
        proxies::trials(),
        endpoints::trials(),
        connections::trials(),
        tls::key_exchange::trials(),
        namespaces::trials(),
        replies::trials(),
        limits::trials(),
        shortages::trials(),
    ];
    trials.into_iter().flatten().collect()
}

/// A test, named by the path of the function.
fn trial<T: Fn() -> Result<(), Failed> + Send + 'static>(test: T) -> Trial {
    Trial::test(name_of(&test), test)
}

/// A test that is reported as ignored if it names something missing.
fn trial_with<T>(missing: fn() -> Option<String>, test: T) -> Trial
where
    T: Fn() -> Result<(), Failed> + Send + 'static,
{
    Trial::ignorable_test(name_of(&test), move || match missing() {
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => test().map(|()| Completion::Completed),
    })
}

fn name_of<T>(_: &T) -> &'static str {
    std::any::type_name::<T>().trim_start_matches("real::network::")
}
