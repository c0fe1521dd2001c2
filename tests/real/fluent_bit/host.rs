//! Fluent Bit as a process: its files, start and end.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use tempfile::TempDir;

use super::known_faults::aborted_at_the_end;
use testing::host::library::built_plugin;

/// The access key that the stand-in knows, and its secret.
pub const KEY: &str = "AKIDEXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Longest wait for something that normally takes a second or two; the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Major, minor, patch.
pub type Version = (u32, u32, u32);

/// One Fluent Bit executable.
#[derive(Clone, Debug)]
pub struct Binary {
    pub path: PathBuf,
    pub version: Version,
}

impl Binary {
    /// Asks the program at `path` for its version.
    pub fn at(path: &Path) -> Result<Binary, String> {
        let told =
            Command::new(path).arg("--version").output().map_err(|error| format!("{}: {error}", path.display()))?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let version = told.split_whitespace().find_map(|word| {
            let mut numbers = word.strip_prefix('v')?.split('.').map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??, numbers.next()??))
        });
        match version {
            Some(version) => Ok(Binary { path: path.to_owned(), version }),
            None => Err(format!("{} tells no version: {told}", path.display())),
        }
    }
}

/// A directory with all files of a Fluent Bit, which may be started there several times.
pub struct Home {
    binary: Binary,
    plugin: PathBuf,
    directory: TempDir,
    environment: Vec<(String, String)>,
}

/// What a run that ended by itself left.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
}

impl Home {
    pub fn new(binary: &Binary) -> Result<Home, Failed> {
        let plugin = built_plugin().map_err(|error| error.to_string())?;
        let directory = TempDir::new()?;
        File::create(directory.path().join("app.log"))?;
        Ok(Home { binary: binary.clone(), plugin, directory, environment: Vec::new() })
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// The library under test.
    pub fn plugin(&self) -> &Path {
        &self.plugin
    }

    /// Adds a variable to the environment of later runs.
    pub fn set(&mut self, name: &str, value: impl AsRef<Path>) {
        self.environment.push((name.to_owned(), value.as_ref().display().to_string()));
    }

    pub fn write(&self, file: &str, text: &str) -> Result<PathBuf, Failed> {
        let path = self.path(file);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The text of a file, or nothing if it does not exist.
    pub fn read(&self, file: &str) -> String {
        fs::read(self.path(file)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Appends numbered lines to the tailed log file.
    pub fn append_lines(&self, numbers: Range<usize>) -> Result<(), Failed> {
        let mut text = String::new();
        numbers.for_each(|number| text.push_str(&line(number)));
        self.append(&text)
    }

    /// Appends text to the tailed log file.
    pub fn append(&self, text: &str) -> Result<(), Failed> {
        let mut file = OpenOptions::new().append(true).open(self.path("app.log"))?;
        Ok(file.write_all(text.as_bytes())?)
    }

    /// Starts Fluent Bit with the plugin and the configuration `file`.
    pub fn start(&self, file: &str) -> Result<FluentBit<'_>, Failed> {
        self.start_with(&["-e", &self.plugin.to_string_lossy(), "-c", file])
    }

    /// Starts Fluent Bit with these arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Result<FluentBit<'_>, Failed> {
        let child = self.command(arguments)?.spawn()?;
        Ok(FluentBit { home: self, child })
    }

    /// Runs Fluent Bit until it ends by itself.
    pub fn run(&self, arguments: &[&str]) -> Result<Ended, Failed> {
        let status = self.start_with(arguments)?.end()?;
        Ok(Ended { status, output: self.output() })
    }

    /// What the runs so far wrote to stdout and stderr.
    pub fn output(&self) -> String {
        self.read("output")
    }

    /// What the runs so far wrote to `Log_File`.
    pub fn log(&self) -> String {
        self.read("fluent-bit.log")
    }

    /// A pipe with the file `stdin`, if it exists. Fluent Bit cannot wait for a file.
    fn stdin(&self) -> Result<Stdio, Failed> {
        let Ok(text) = fs::read(self.path("stdin")) else { return Ok(Stdio::null()) };
        let (read, mut write) = std::io::pipe()?;
        // As much as a pipe holds, so that nobody has to read it meanwhile.
        assert!(text.len() < 60_000);
        write.write_all(&text)?;
        Ok(read.into())
    }

    fn command(&self, arguments: &[&str]) -> Result<Command, Failed> {
        let output = OpenOptions::new().create(true).append(true).open(self.path("output"))?;
        let mut command = Command::new(&self.binary.path);
        command.args(arguments).current_dir(self.directory.path());
        command.env_clear().env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", self.directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(self.stdin()?).stdout(output.try_clone()?).stderr(output);
        Ok(command)
    }
}

/// The text of a numbered log line, with its newline.
pub fn line(number: usize) -> String {
    format!("line {number}, which says \"größe\" \\ and more, as long as a short line of a web server's log\n")
}

/// A running Fluent Bit; killed on drop.
pub struct FluentBit<'a> {
    home: &'a Home,
    child: Child,
}

impl FluentBit<'_> {
    /// Waits until `done` holds. Fails if Fluent Bit ends first, or after [`PATIENCE`].
    pub fn wait_until(&mut self, what: &str, done: impl Fn() -> bool) -> Result<(), Failed> {
        let began = Instant::now();
        while !done() {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("it ended ({status}) before: {what}")));
            }
            if began.elapsed() > PATIENCE {
                return Err(self.failure(&format!("not within {} s: {what}", PATIENCE.as_secs())));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether `done` comes to hold within `time`, before Fluent Bit ends.
    pub fn comes_to(&mut self, time: Duration, done: impl Fn() -> bool) -> bool {
        let began = Instant::now();
        loop {
            if done() {
                return true;
            }
            if began.elapsed() > time || !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Stops it like a service manager and fails unless it exits with code 0. Returns how long that took.
    pub fn stop(&mut self) -> Result<Duration, Failed> {
        let began = Instant::now();
        self.signal(libc::SIGTERM);
        self.end_well()?;
        Ok(began.elapsed())
    }

    /// Like [`FluentBit::stop`], for a version that may abort after the last output has exited.
    pub fn stop_or_abort(&mut self) -> Result<(), Failed> {
        self.signal(libc::SIGTERM);
        let status = self.end()?;
        match status.success() || aborted_at_the_end(&self.home.binary, status) {
            true => Ok(()),
            false => Err(self.failure(&format!("it ended with {status}"))),
        }
    }

    /// Waits until it has ended by itself, and fails unless it exits with code 0.
    pub fn end_well(&mut self) -> Result<(), Failed> {
        let status = self.end()?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failure(&format!("it ended with {status}"))),
        }
    }

    /// Sends a signal to this process only.
    #[allow(unsafe_code, reason = "std cannot send signals")]
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the process is our child and has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.child.id().cast_signed(), signal) };
    }

    /// The files whose code it has loaded.
    pub fn code_files(&self) -> BTreeSet<PathBuf> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap_or_default();
        let code = maps.lines().filter(|line| line.contains(" r-xp "));
        code.filter_map(|line| Some(PathBuf::from(line.get(line.find('/')?..)?))).collect()
    }

    /// Waits until it has ended.
    fn end(&mut self) -> Result<ExitStatus, Failed> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > PATIENCE {
                return Err(self.failure(&format!("it does not end within {} s", PATIENCE.as_secs())));
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// A failure with everything that Fluent Bit printed.
    pub fn failure(&self, what: &str) -> Failed {
        format!("{what}\nstdout and stderr:\n{}\nlog file:\n{}", self.home.output(), self.home.log()).into()
    }
}

impl Drop for FluentBit<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
