//! A root file system of its own, in which Fluent Bit starts as it would in an image or on another machine.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::fluent_bit::host::{KEY, SECRET, line};
use crate::fluent_bit::stand_in::{assert_each_once, checked, section};
use testing::fake_kinesis::FakeKinesis;
use testing::programs::said;

pub struct RootFs {
    folder: TempDir,
}

/// A command as root, in namespaces of its own: also of users, without the right to be root.
pub fn as_root(command: &[&str]) -> Command {
    let mut own = Command::new("unshare");
    let users: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    own.arg("--mount").args(users).args(command);
    own
}

/// Runs chroot with the arguments that follow the root, in which Fluent Bit finds what the system says of processes.
const ENTER: &str = r#"mount --rbind /proc "$0/proc" && exec chroot "$@""#;

/// The program's shared libraries and its dynamic linker, if it names any.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().map(|ran| ran.stdout).unwrap_or_default();
    let paths = String::from_utf8_lossy(&listed).into_owned();
    paths
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .collect()
}

impl RootFs {
    /// Why a program cannot run in one, if so.
    pub fn impossible(program: &Path) -> Option<String> {
        if libraries(program).is_empty() {
            return Some(format!("ldd finds no libraries of {}", program.display()));
        }
        let entered = as_root(&["sh", "-c", ENTER, "/", "/", "true"]).stderr(Stdio::null()).status();
        (!entered.is_ok_and(|status| status.success())).then(|| "no right to change the root of a process".to_owned())
    }

    /// With a program at a place of its own, and its libraries where they are here.
    pub fn with(program: &Path, to: &str) -> Result<RootFs, Failed> {
        let fs = RootFs { folder: TempDir::new()? };
        fs::set_permissions(fs.folder.path(), Permissions::from_mode(0o755))?;
        fs.program(program, to)?;
        fs.write("/etc/hosts", "127.0.0.1 localhost\n")?;
        fs::create_dir(fs.path("/proc"))?;
        Ok(fs)
    }

    /// Adds a program.
    pub fn program(&self, program: &Path, to: &str) -> Result<(), Failed> {
        self.add(program, to)?;
        for library in libraries(program) {
            self.add(&library, &library.to_string_lossy())?;
        }
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name.trim_start_matches('/'))
    }

    /// Adds a file with its permissions.
    pub fn add(&self, from: &Path, to: &str) -> Result<(), Failed> {
        fs::create_dir_all(self.path(to).parent().ok_or("no folder")?)?;
        fs::copy(from, self.path(to)).map_err(|error| format!("{}: {error}", from.display()))?;
        Ok(())
    }

    pub fn write(&self, to: &str, text: &str) -> Result<(), Failed> {
        fs::create_dir_all(self.path(to).parent().ok_or("no folder")?)?;
        Ok(fs::write(self.path(to), text)?)
    }

    /// A command inside, as root or as another user, which only root can start.
    pub fn command(&self, command: &[&str], user: Option<&str>) -> Command {
        let mut inside = as_root(&["timeout", "60", "sh", "-c", ENTER]);
        inside.arg(self.folder.path()).args(user.map(|user| format!("--userspec={user}")));
        inside.arg(self.folder.path()).args(command);
        inside.env_clear().stdin(Stdio::null());
        inside.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        inside
    }

    /// Starts Fluent Bit by `start`, which reads the configuration at `path`. It sends a file to a stand-in and ends; each
    /// line must have arrived once.
    pub fn delivers(
        &self,
        start: &[&str],
        user: Option<&str>,
        (path, service, input): (&str, &[&str], &[&str]),
    ) -> Result<(), Failed> {
        const LINES: usize = 1000;
        let kinesis = FakeKinesis::start(checked());
        let endpoint = format!("endpoint {}", kinesis.endpoint());
        let tail = ["Name tail", "Tag app", "Path /var/log/app.log", "Read_from_Head on", "Exit_On_Eof on"];
        let output = ["Name kinesis", "Match app", "stream logs", "region eu-west-1", &endpoint];
        let text = section("SERVICE", &[&["Flush 0.2", "Grace 30"], service])
            + &section("INPUT", &[&tail, input])
            + &section("OUTPUT", &[&output]);
        self.write(path, &text)?;
        self.write("/var/log/app.log", &(0..LINES).map(line).collect::<String>())?;
        self.add(kinesis.ca_file(), "/etc/ca.pem")?;
        let mut command = self.command(start, user);
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("SSL_CERT_FILE", "/etc/ca.pem");
        let ran = command.output()?;
        let arrived = assert_each_once(&kinesis, "logs", LINES);
        match ran.status.success() && arrived.is_ok() {
            true => Ok(()),
            false => Err(format!("{:?}, {}: {}", arrived.err(), ran.status, said(&ran)).into()),
        }
    }
}
