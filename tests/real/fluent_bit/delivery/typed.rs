//! Does what a page tells its reader to do: types each command in the terminal that it names, and looks for each line
//! that it says is shown.
//!
//! Blocks of `sh` are typed, blocks without a language are what the last command shows, with anything in place of `…`.
//! The text before a block says "in a second terminal" or "in a third", and when to press Ctrl-C in Fluent Bit's.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::fluent_bit::host::Binary;
use testing::host::library::built_plugin;
use testing::programs::example;
use testing::sources::root;

/// When a reader looks again for what has not come yet.
const AGAIN: Duration = Duration::from_secs(2);

/// What a page tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step<'a> {
    /// Go to this terminal, from 0.
    Go(usize),
    /// To the terminal with Fluent Bit.
    PressCtrlC,
    Type(&'a str),
    See(&'a str),
}

/// The steps of a page's section.
pub fn steps<'a>(page: &'a str, heading: &str) -> Vec<Step<'a>> {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let mut steps = Vec::new();
    for (index, part) in section.split("```").enumerate() {
        if index % 2 == 1 {
            match part.split_once('\n') {
                Some(("sh", command)) => steps.push(Step::Type(command)),
                Some(("", lines)) => steps.push(Step::See(lines)),
                // A configuration that is only shown.
                _ => {}
            }
            continue;
        }
        let text = part.to_lowercase();
        steps.extend(text.contains("ctrl-c").then_some(Step::PressCtrlC));
        let is_named = |ordinal| ["a", "the"].iter().any(|the| text.contains(&format!("in {the} {ordinal}")));
        steps.extend(["first", "second", "third"].into_iter().position(is_named).map(Step::Go));
    }
    steps
}

/// Puts the built plugin and stand-in into a folder, as `make try` does, and Fluent Bit, which is on its reader's PATH.
pub fn lay_out(folder: &Path, binary: &Binary) -> Result<(), Failed> {
    symlink(built_plugin().map_err(|error| error.to_string())?, folder.join("kinesis.so"))?;
    symlink(example("fake_kinesis"), folder.join("fake_kinesis"))?;
    let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", fs::canonicalize(&binary.path)?.display());
    fs::write(folder.join("fluent-bit"), script)?;
    fs::set_permissions(folder.join("fluent-bit"), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Takes the steps in `folder`, all within `time`.
pub fn take(steps: &[Step], folder: &Path, time: Duration) -> Result<(), Failed> {
    let ends = Instant::now() + time;
    let (mut terminals, mut at, mut with_fluent_bit) = (Vec::new(), 0, None);
    for step in steps {
        while terminals.len() <= at {
            terminals.push(Terminal::open(folder, terminals.len())?);
        }
        match step {
            Step::Go(there) => at = *there,
            Step::PressCtrlC => {
                at = with_fluent_bit.ok_or("Ctrl-C, but no Fluent Bit")?;
                terminals[at].signal(libc::SIGINT);
            }
            Step::Type(command) => {
                with_fluent_bit = if command.contains("fluent-bit -e") { Some(at) } else { with_fluent_bit };
                terminals[at].type_in(command)?;
            }
            Step::See(lines) => terminals[at].wait_for(lines, ends).map_err(|missing| {
                let shown = terminals.iter().map(|terminal| format!("\n$ {}{}", terminal.command, terminal.text()));
                missing + &shown.collect::<String>()
            })?,
        }
    }
    Ok(())
}

/// A shell that is typed into, its output in a file; ended on drop.
struct Terminal {
    shell: Child,
    output: PathBuf,
    command: String,
    /// Where its output begins.
    from: usize,
}

impl Terminal {
    fn open(folder: &Path, number: usize) -> Result<Terminal, Failed> {
        let output = folder.join(format!("terminal-{number}"));
        let file = File::create(&output)?;
        let tools = root().join(".venv/bin");
        let path = format!("{}:{}:{}", folder.display(), tools.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.current_dir(folder).process_group(0).stdin(Stdio::piped());
        shell.env_clear().env("PATH", path).env("HOME", folder).env("TMPDIR", folder);
        let shell = shell.stdout(file.try_clone()?).stderr(file).spawn()?;
        let mut terminal = Terminal { shell, output, command: String::new(), from: 0 };
        // As a shell at a terminal, it outlives the command that Ctrl-C ends.
        terminal.type_in("trap : INT\n")?;
        Ok(terminal)
    }

    fn type_in(&mut self, command: &str) -> Result<(), Failed> {
        self.from = fs::metadata(&self.output)?.len() as usize;
        self.command = command.to_owned();
        let typed = self.shell.stdin.as_mut().ok_or("it has no input")?;
        Ok(typed.write_all(command.as_bytes())?)
    }

    /// What it has shown since the last command.
    fn text(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.from..).unwrap_or_default()).into_owned()
    }

    /// Waits until the last command has shown each of these lines. One that only looks is typed again.
    fn wait_for(&mut self, lines: &str, ends: Instant) -> Result<(), String> {
        let stays =
            ["fluent-bit", "fake_kinesis", "ministack", "moto_server"].iter().any(|name| self.command.contains(name));
        let mut typed = Instant::now();
        loop {
            let text = self.text();
            let Some(missing) = lines.lines().find(|line| !text.lines().any(|shown| is_like(shown, line))) else {
                return Ok(());
            };
            if Instant::now() > ends {
                return Err(format!("not shown: {missing}"));
            }
            if !stays && typed.elapsed() > AGAIN {
                self.type_in(&self.command.clone()).map_err(|failed| failed.message().unwrap_or("?").to_owned())?;
                typed = Instant::now();
            }
            sleep(Duration::from_millis(20));
        }
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
