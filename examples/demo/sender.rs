//! The program that loads the plugin and sends: Fluent Bit, or examples/host.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender as Channel, channel};
use std::thread;

/// A configuration of Fluent Bit that survives kills: chunks, the tail's position and the ledger are on disk.
const ON_DISK: &str = "\
[SERVICE]
    flush           1
    grace           5
    log_level       info
    storage.path    {folder}/storage
    scheduler.base  1
    scheduler.cap   2

[INPUT]
    name            tail
    path            ${LOG_FILE}
    tag             access
    read_from_head  on
    db              {folder}/tail.db
    storage.type    filesystem

[OUTPUT]
    name            kinesis
    match           *
    stream          ${KINESIS_STREAM}
    region          us-east-1
    endpoint        ${KINESIS_ENDPOINT}
    ledger_path     {folder}/ledger
    retry_limit     no_limits
";

/// What loads the plugin.
pub(crate) enum Program {
    Host(PathBuf),
    FluentBit { path: PathBuf, survives_kills: bool },
}

impl Program {
    /// The one next to this program.
    pub(crate) fn host() -> Result<Program, Box<dyn Error>> {
        let host = std::env::current_exe()?.with_file_name("host");
        if host.exists() { Ok(Program::Host(host)) } else { Err(format!("{}: no such file", host.display()).into()) }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Program::Host(_) => "examples/host".to_owned(),
            Program::FluentBit { path, .. } => path.display().to_string(),
        }
    }
}

/// The running program.
pub(crate) struct Sender {
    program: Program,
    folder: PathBuf,
    plugin: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    child: Child,
    channel: Channel<String>,
    lines: Receiver<String>,
    is_stopped: bool,
}

impl Sender {
    pub(crate) fn new(
        program: Program,
        folder: &Path,
        plugin: PathBuf,
        environment: Vec<(&'static str, OsString)>,
    ) -> Result<Sender, Box<dyn Error>> {
        let (channel, lines) = channel();
        let folder = folder.to_owned();
        fs::write(folder.join("on_disk.conf"), ON_DISK.replace("{folder}", &folder.display().to_string()))?;
        let child = spawn(&program, &folder, &plugin, &environment, channel.clone())?;
        Ok(Sender { program, folder, plugin, environment, child, channel, lines, is_stopped: false })
    }

    /// Starts it again.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        self.child = spawn(&self.program, &self.folder, &self.plugin, &self.environment, self.channel.clone())?;
        Ok(())
    }

    /// What it has said since the last call; of Fluent Bit's own lines only its errors.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let is_ours = |line: &String| line.contains("output:kinesis") || line.to_lowercase().contains("error");
        self.lines.try_iter().filter(is_ours)
    }

    /// Bytes of its chunks on disk.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let folders = fs::read_dir(self.folder.join("storage")).into_iter().flatten().flatten();
        let files = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    }

    /// Everything has arrived: what does not end by itself is told to.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let stays = matches!(self.program, Program::FluentBit { survives_kills: true, .. });
        if stays && !self.is_stopped {
            self.is_stopped = true;
            Command::new("kill").arg(self.child.id().to_string()).status()?;
        }
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.kill());
    }
}

fn spawn(
    program: &Program,
    folder: &Path,
    plugin: &Path,
    environment: &[(&'static str, OsString)],
    channel: Channel<String>,
) -> io::Result<Child> {
    let mut command = match program {
        Program::Host(host) => {
            let mut command = Command::new(host);
            let endpoint = environment.iter().find(|(name, _)| *name == "KINESIS_ENDPOINT").map(|(_, url)| url);
            let endpoint =
                format!("endpoint={}", endpoint.map_or_else(String::new, |url| url.to_string_lossy().into()));
            let ledger = format!("ledger_path={}", folder.join("ledger").display());
            command.arg("--plugin").arg(plugin);
            for property in ["stream=demo", "region=us-east-1", &endpoint, &ledger] {
                command.args(["-p", property]);
            }
            command.args(["--retries", "1000", "--done"]).arg(folder.join("done")).arg(folder.join("access.log"));
            command
        }
        Program::FluentBit { path, survives_kills } => {
            let mut command = Command::new(path);
            let on_disk = folder.join("on_disk.conf");
            let usual = Path::new("fluent-bit-conf/demo.conf").to_owned();
            command.arg("-e").arg(plugin).arg("-c").arg(if *survives_kills { on_disk } else { usual });
            command
        }
    };
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    if let Some(stderr) = child.stderr.take() {
        thread::spawn(move || {
            let lines = BufReader::new(stderr).lines().map_while(Result::ok);
            // The other end may have gone.
            lines.for_each(|line| drop(channel.send(line)));
        });
    }
    Ok(child)
}
