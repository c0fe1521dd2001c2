//! The quick start of README.md, as a newcomer types it.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::fluent_bit::Claim;
use crate::fluent_bit::host::Binary;
use crate::fluent_bit::metrics::free_port;
use testing::host::library::built_plugin;
use testing::programs::example;
use testing::sources::read;

/// The README promises a minute, for a person.
const PATIENCE: Duration = Duration::from_secs(60);
/// The port that the README names. Here it is replaced by a free one: tests run side by side.
const PORT: &str = "4567";

pub fn claims() -> Vec<Claim> {
    vec![Claim::new("the_quick_start_of_the_readme_shows_what_it_says", as_written).runs("curl")]
}

/// The commands of the quick start, each with the output that the README shows for it.
fn steps() -> Vec<(String, String)> {
    let readme = read("README.md");
    let (_, section) = readme.split_once("\n## Quick start\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut steps: Vec<(String, String)> = Vec::new();
    for block in section.split("```").skip(1).step_by(2) {
        match (block.strip_prefix("sh\n"), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), String::new())),
            // What Fluent Bit prints last comes after another command.
            (None, Some((_, shown))) => shown.push_str(block.trim_start()),
            (None, None) => panic!("output without a command: {block}"),
        }
    }
    steps
}

fn as_written(binary: &Binary) -> Result<(), Failed> {
    let steps = steps();
    let [make, stand_in, fluent_bit, look] = steps.as_slice() else { return Err(format!("{steps:?}").into()) };
    let (seen, stopped) = look.1.split_once('\n').unwrap();
    let port = free_port()?.to_string();
    let here = |text: &str| text.replace(PORT, &port);

    let folder = TempDir::new()?;
    // What `make try` leaves in the folder, and Fluent Bit on the PATH.
    assert_eq!(make.0, "make try\n");
    symlink(built_plugin().map_err(|error| error.to_string())?, folder.path().join("kinesis.so"))?;
    symlink(example("fake_kinesis"), folder.path().join("fake_kinesis"))?;
    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", fs::canonicalize(&binary.path)?.display());
    fs::write(folder.path().join("fluent-bit"), script)?;
    fs::set_permissions(folder.path().join("fluent-bit"), fs::Permissions::from_mode(0o755))?;

    let began = Instant::now();
    let first = Terminal::open(folder.path(), "first", &here(&stand_in.0))?;
    first.shows(&here(&stand_in.1), began)?;
    let second = Terminal::open(folder.path(), "second", &here(&fluent_bit.0))?;
    second.shows(&here(&fluent_bit.1), began)?;
    // The first record takes a second, which a reader needs to open another terminal.
    while Terminal::open(folder.path(), "third", &here(&look.0))?.shows(seen, began).is_err() {
        if began.elapsed() > PATIENCE {
            return Err(format!("no record arrived: {}", second.text()).into());
        }
    }
    second.press_ctrl_c();
    second.shows(stopped, began)
}

/// A command in a shell, its output in a file; ended on drop.
struct Terminal {
    shell: Child,
    output: std::path::PathBuf,
}

impl Terminal {
    fn open(folder: &Path, name: &str, command: &str) -> Result<Terminal, Failed> {
        let output = folder.join(name);
        let file = File::create(&output)?;
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(folder).process_group(0);
        shell.env_clear().env("PATH", path).env("HOME", folder);
        Ok(Terminal { shell: shell.stdout(file.try_clone()?).stderr(file).spawn()?, output })
    }

    fn text(&self) -> String {
        fs::read(&self.output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until each of these lines has come, with anything in place of `…`; for two seconds if the command ends.
    fn shows(&self, lines: &str, began: Instant) -> Result<(), Failed> {
        let asked = Instant::now();
        loop {
            let text = self.text();
            let missing = lines.lines().find(|line| !text.lines().any(|shown| is_like(shown, line)));
            let Some(missing) = missing else { return Ok(()) };
            let is_short = self.output.ends_with("third") && asked.elapsed() > Duration::from_secs(2);
            if is_short || began.elapsed() > PATIENCE {
                return Err(format!("not shown: {missing}\n{text}").into());
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn press_ctrl_c(&self) {
        self.signal(libc::SIGINT);
    }

    /// To the shell and what it runs.
    #[allow(unsafe_code, reason = "std cannot send signals")]
    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the group is that of our child, which has not been waited for, so its id is still its own.
        unsafe { libc::kill(-self.shell.id().cast_signed(), signal) };
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        self.shell.wait().ok();
    }
}

/// Whether a line holds the parts of `expected` between `…`, in order.
fn is_like(shown: &str, expected: &str) -> bool {
    let mut rest = shown;
    expected.split('…').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}
