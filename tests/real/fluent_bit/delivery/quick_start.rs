//! The quick start of README.md, as a newcomer types it.

use std::time::Duration;

use libtest_mimic::Failed;
use tempfile::TempDir;

use super::typed::{Step, lay_out, steps, take};
use crate::fluent_bit::Claim;
use crate::fluent_bit::host::Binary;
use crate::fluent_bit::metrics::free_port;
use testing::sources::read;

/// The README promises a minute, for a person.
const PATIENCE: Duration = Duration::from_secs(60);
/// The port that the README names. Here it is replaced by a free one: tests run side by side.
pub const PORT: &str = "4567";

pub fn claims() -> Vec<Claim> {
    vec![Claim::new("the_quick_start_of_the_readme_shows_what_it_says", as_written).runs("curl")]
}

fn as_written(binary: &Binary) -> Result<(), Failed> {
    let readme = read("README.md").replace(PORT, &free_port()?.to_string());
    let all = steps(&readme, "## Quick start");
    let [Step::Type("make try\n"), rest @ ..] = all.as_slice() else { return Err(format!("{all:?}").into()) };
    let kinds = rest.iter().map(|step| match step {
        Step::Go(terminal) => *terminal,
        Step::Type(_) => 10,
        Step::See(_) => 11,
        Step::PressCtrlC => 12,
    });
    assert_eq!(kinds.collect::<Vec<_>>(), [10, 11, 1, 10, 11, 2, 10, 11, 12, 11], "{rest:?}");
    let folder = TempDir::new()?;
    lay_out(folder.path(), binary)?;
    take(rest, folder.path(), PATIENCE)
}
