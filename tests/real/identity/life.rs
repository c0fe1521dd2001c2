//! What must hold for every kind of temporary credentials, however they are obtained.

use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::child::{Running, Setup};
use super::issuer::Issuer;

/// Short enough for a test; the plugin renews when a quarter is left.
pub const LIFE: Duration = Duration::from_secs(8);

/// The first of what [`lead`] does: a flush is signed with the first credentials, and the log names `place`. For another way to
/// a kind whose life is tested already.
pub fn deliver(issuer: &Issuer, setup: Setup, place: &str) -> Result<(), Failed> {
    let mut plugin = setup.start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    assert_eq!(issuer.keys_used(), ["ASIAISSUED000001"]);
    plugin.expect_line(&["Info signing with access key …0001", place])?;
    plugin.stop()
}

/// Takes one instance through the life of its credentials:
///
/// 1. the first flush is signed with the first ones, and the log names `place`;
/// 2. they are renewed without a flush, before they expire;
/// 3. then `fall_ill` makes the issuer fail: the last ones are used until they expire, and no longer;
/// 4. the log says why, in the words of `complaint`;
/// 5. after `recover` records are delivered again.
pub fn lead(
    issuer: &Issuer,
    setup: Setup,
    place: &str,
    complaint: &[&str],
    fall_ill: impl Fn(),
    recover: impl Fn(),
) -> Result<(), Failed> {
    let mut plugin = setup.start()?;
    plugin.started()?;
    plugin.expect("Delivered")?;
    assert_eq!(issuer.keys_used(), ["ASIAISSUED000001"]);
    plugin.expect_line(&["Info signing with access key …0001", place])?;
    plugin.expect_line(&["valid for"])?;

    wait_for(&plugin, 2 * LIFE, || issuer.count() >= 2)?;
    thread::sleep(Duration::from_millis(500));
    plugin.expect("Delivered")?;
    assert_eq!(issuer.keys_used().last().map(String::as_str), Some("ASIAISSUED000002"));

    fall_ill();
    let begin = Instant::now();
    while begin.elapsed() + Duration::from_secs(3) < LIFE {
        plugin.expect("Delivered")?;
        thread::sleep(Duration::from_millis(500));
    }
    thread::sleep(Duration::from_secs(5));
    plugin.expect("Retry")?;
    assert!(issuer.keys_used().iter().skip(1).all(|key| key == "ASIAISSUED000002"), "{:?}", issuer.keys_used());
    plugin.expect_line(&["Warn no credentials: ", "the current ones remain in use and expire in"])?;
    plugin.expect_line(&[&["Error cannot put records", "no credentials: "], complaint].concat())?;

    recover();
    plugin.expect_delivery_within(Duration::from_secs(40))?;
    plugin.stop()
}

/// The same for issuers that fail by answering with an error.
pub fn lead_through_refusal(
    issuer: &Issuer,
    setup: Setup,
    place: &str,
    (status, body): (u16, &str),
    complaint: &[&str],
) -> Result<(), Failed> {
    lead(issuer, setup, place, complaint, || issuer.refuse(status, body), || issuer.recover())
}

/// Fails when it does not happen within `patience`.
pub fn wait_for(plugin: &Running, patience: Duration, happened: impl Fn() -> bool) -> Result<(), Failed> {
    let start = Instant::now();
    while !happened() {
        if start.elapsed() > patience {
            return Err(plugin.explain("it did not happen in time"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
