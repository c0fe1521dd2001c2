//! systemd accepts the drop-in in a unit like that of Fluent Bit's packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Completion, Failed, Trial};

use testing::sources::read;

pub fn trials() -> Vec<Trial> {
    vec![Trial::ignorable_test("the_drop_in_passes_systemd_analyze", || {
        match Command::new("systemd-analyze").arg("--version").output() {
            Ok(ran) if ran.status.success() => verified().map(|()| Completion::Completed),
            _ => Ok(Completion::ignored_with("systemd-analyze is not installed")),
        }
    })]
}

/// As in Fluent Bit's packages.
const UNIT: &str = "[Unit]
Description=Fluent Bit
After=network.target

[Service]
Type=simple
ExecStart=/opt/fluent-bit/bin/fluent-bit -c /etc/fluent-bit/fluent-bit.conf
Restart=always

[Install]
WantedBy=multi-user.target
";

fn verified() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let unit = folder.path().join("fluent-bit.service");
    let drop_in = folder.path().join("fluent-bit.service.d/kinesis.conf");
    fs::create_dir(drop_in.parent().unwrap_or(Path::new("/")))?;
    // systemd checks whether programs exist.
    let here = |text: &str| text.replace("/opt/fluent-bit/bin/fluent-bit", "/bin/true");
    fs::write(&unit, here(UNIT))?;
    fs::write(&drop_in, here(&read("deploy/systemd/kinesis.conf")))?;
    let mut command = Command::new("systemd-analyze");
    // To check man pages, it would run a program that may be missing.
    let ran = command
        .args(["verify", "--man=no"])
        .arg(&unit)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .output()?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    // It only warns of unknown names, including those in other units of this machine.
    let ours = said.lines().any(|line| line.contains("fluent-bit.service"));
    match ran.status.success() && !ours {
        true => Ok(()),
        false => Err(format!("{}: {said}", ran.status).into()),
    }
}
