//! The plugin against Kinesis servers by other people, read back with other people's clients: a misunderstanding that
//! our own stand-in shares with the plugin shows here. And record contents, unpacked by other people's consumers.
//!
//! `make peers` installs them into the project's folder. A test whose peer is not installed is reported as ignored,
//! with the reason; without Python and Node, a plain `cargo test` still passes.

mod aggregates;
mod consumers;
mod kinesis_local;
mod ministack;
mod read_back;
pub mod servers;
mod streams;

use libtest_mimic::{Completion, Failed, Trial};

use servers::Peer;

pub fn trials() -> Vec<Trial> {
    let mut trials = kinesis_local::trials();
    trials.extend(ministack::trials());
    trials.extend(streams::trials());
    trials.extend(consumers::trials());
    trials.extend(aggregates::trials());
    trials
}

/// A test with a server of its own, named by the path of the function.
fn trial<P: Peer, T: Fn(&P) -> Result<(), Failed> + Send + 'static>(test: T) -> Trial {
    trial_unless::<T>(P::missing, move || {
        let peer = P::start()?;
        test(&peer).map_err(|failed| peer.server().explain(&failed))
    })
}

/// A test with a program that ends by itself, named by the path of the function.
fn tool_trial<T: Fn() -> Result<(), Failed> + Send + 'static>(missing: fn() -> Option<String>, test: T) -> Trial {
    trial_unless::<T>(missing, test)
}

fn trial_unless<T>(
    missing: fn() -> Option<String>,
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let name = std::any::type_name::<T>().trim_start_matches("real::peers::");
    Trial::ignorable_test(name, move || {
        if let Some(reason) = missing() {
            // Set where the peers have just been installed: there, a missing one is a failure.
            return match std::env::var_os("PEERS") {
                Some(_) => Err(reason.into()),
                None => Ok(Completion::ignored_with(reason)),
            };
        }
        test().map(|()| Completion::Completed)
    })
}
