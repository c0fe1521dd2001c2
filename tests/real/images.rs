//! The images, without a container engine: a root file system laid out as each base image is, over it what the Dockerfile
//! copies, and in it the image's own entrypoint, as the image's own user.
//!
//! What is known of the base images, read on 2026-11-28:
//!
//! - <https://github.com/fluent/fluent-bit/blob/d55459d/dockerfiles/Dockerfile>: the entrypoint is the program.
//! - <https://github.com/aws/aws-for-fluent-bit/blob/cd557e0/entrypoint.sh>, of 2.32.3, and for `init-` images
//!   `init/fluent_bit_init_process.go` there: a shell runs a script.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Completion, Failed, Trial};
use tempfile::TempDir;

use crate::deploy::dockerfile::{Copy, Stage, copy, stages};
use crate::fluent_bit::host::Binary;
use crate::fluent_bit::{binaries, not_run, text};
use crate::root_fs::RootFs;
use testing::host::library::built_plugin;
use testing::programs::said;
use testing::sources::root;

const PROGRAM: &str = "/fluent-bit/bin/fluent-bit";
const CONFIGURATION: &str = "/fluent-bit/etc/fluent-bit.conf";

type Check = fn(&Binary) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 3] = [
    ("fluent_bits_image_delivers_from_its_own_entrypoint", fluent_bits),
    ("awss_image_delivers_from_its_own_entrypoint", awss),
    ("awss_init_image_delivers_from_its_own_entrypoint", awss_init),
];

pub fn trials() -> Vec<Trial> {
    let copy = Path::new("/bin/cp");
    let mut trials =
        vec![trial("the_image_for_init_containers_hands_out_the_library".to_owned(), copy, || hands_out(copy))];
    match binaries() {
        Ok(binaries) => {
            trials.extend(binaries.into_iter().flat_map(|binary| CHECKS.map(|check| in_fluent_bit(&binary, check))))
        }
        Err(reason) => trials.extend(CHECKS.map(|(name, _)| not_run(name.to_owned(), reason.clone()))),
    }
    trials
}

fn in_fluent_bit(binary: &Binary, (name, check): (&str, Check)) -> Trial {
    let (path, binary) = (binary.path.clone(), binary.clone());
    trial(format!("{}::{name}", text(binary.version)), &path, move || check(&binary))
}

fn trial(name: String, program: &Path, check: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let program = program.to_owned();
    Trial::ignorable_test(name, move || {
        let not_root = (!rustix::process::geteuid().is_root()).then(|| "only root can be another user".to_owned());
        match not_root.or_else(|| RootFs::impossible(&program)) {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => check().map(|()| Completion::Completed),
        }
    })
}

/// An image: its files, and who runs in it.
struct Image {
    fs: RootFs,
    user: String,
}

impl Image {
    /// Lays over `fs` what the stage copies, and the stages that it is built on.
    fn of(name: &str, fs: RootFs) -> Result<Image, Failed> {
        let stages = stages();
        let mut line: Vec<&Stage> = Vec::new();
        let mut next = Some(name);
        while let Some(stage) = next.and_then(|name| stages.iter().find(|stage| stage.name == name)) {
            line.insert(0, stage);
            next = Some(&stage.base);
        }
        let mut image = Image { fs, user: "0:0".to_owned() };
        for instruction in line.iter().flat_map(|stage| &stage.lines) {
            image.does(instruction)?;
        }
        if line.is_empty() { Err(format!("there is no stage {name}").into()) } else { Ok(image) }
    }

    fn does(&mut self, instruction: &str) -> Result<(), Failed> {
        match instruction.split_once(' ') {
            Some(("ARG" | "CMD", _)) => Ok(()),
            Some(("COPY", _)) => self.copies(&copy(instruction).ok_or("a COPY without paths")?),
            Some(("USER", user)) => {
                self.user = user.to_owned();
                Ok(())
            }
            _ => Err(format!("this test does not know {instruction}").into()),
        }
    }

    fn copies(&self, copy: &Copy) -> Result<(), Failed> {
        for source in &copy.sources {
            let name = Path::new(source).file_name().ok_or("a COPY of no file")?.to_string_lossy();
            let to = if copy.to.ends_with('/') { format!("{}{name}", copy.to) } else { copy.to.clone() };
            match made(copy.from.as_deref(), source)? {
                Some(from) => self.fs.add(&from, &to)?,
                None => fs::create_dir_all(self.fs.path(&to))?,
            }
            if let Some(owner) = &copy.owner {
                let given = Command::new("chown").arg(owner).arg(self.fs.path(&to)).status()?;
                assert!(given.success(), "{to} cannot be given to {owner}");
            }
        }
        Ok(())
    }

    fn run(&self, command: &[&str]) -> Result<Output, Failed> {
        Ok(self.fs.command(command, Some(&self.user)).output()?)
    }

    /// Delivers, with a database where this project's configurations have it.
    fn delivers(&self, start: &[&str], configuration: &str, service: &[&str]) -> Result<(), Failed> {
        let database = "DB /var/lib/fluent-bit/tail.db";
        self.fs.delivers(start, Some(&self.user), (configuration, service, &[database]))
    }
}

/// The file that a COPY takes: of the project, or of a stage. An empty folder is none.
fn made(stage: Option<&str>, source: &str) -> Result<Option<PathBuf>, Failed> {
    match (stage, source) {
        (None, source) => Ok(Some(root().join(source))),
        (Some("build"), "/$TARGETARCH/kinesis.so") => Ok(Some(built_plugin().map_err(|error| error.to_string())?)),
        (Some("state"), "/state") => Ok(None),
        (Some(stage), source) => Err(format!("this test does not know {source} of {stage}").into()),
    }
}

fn hands_out(copy: &Path) -> Result<(), Failed> {
    let image = Image::of("plugin", RootFs::with(copy, "/bin/cp")?)?;
    // Kubernetes lets everybody write into an empty volume.
    let volume = image.fs.path("/plugin");
    fs::create_dir(&volume)?;
    open_to_all(&volume)?;
    let stages = stages();
    let lines = stages.iter().find(|stage| stage.name == "plugin").map(|stage| stage.lines.join("\n"));
    let command = lines.as_deref().and_then(|lines| lines.rsplit_once("CMD ")).ok_or("no CMD")?.1;
    let command: Vec<String> = serde_json::from_str(command)?;
    let ran = image.run(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
    let library = built_plugin().map_err(|error| error.to_string())?;
    match ran.status.success() && fs::read(volume.join("kinesis.so"))? == fs::read(library)? {
        true => Ok(()),
        false => Err(said(&ran).into()),
    }
}

fn open_to_all(path: &Path) -> Result<(), Failed> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o777))?)
}

fn fluent_bits(binary: &Binary) -> Result<(), Failed> {
    let image = Image::of("fluent-bit", RootFs::with(&binary.path, PROGRAM)?)?;
    // As the image's own configuration does.
    image.delivers(&[PROGRAM, "-c", CONFIGURATION], CONFIGURATION, &["Plugins_File plugins.conf"])
}

/// With a shell, and other libraries in place of the other Go plugins.
fn awss_base(binary: &Binary) -> Result<RootFs, Failed> {
    let fs = RootFs::with(&binary.path, PROGRAM)?;
    for program in ["/bin/sh", "/bin/cat"] {
        fs.program(Path::new(program), program)?;
    }
    let folder = TempDir::new()?;
    for name in ["firehose", "cloudwatch", "kinesis"] {
        let library = folder.path().join(name);
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", &format!("-DNAME=\"{name}\""), "-o"]).arg(&library);
        let ran = compile.arg(root().join("tests/real/other_plugin.c")).output()?;
        assert!(ran.status.success(), "{}", said(&ran));
        fs.add(&library, &format!("/fluent-bit/{name}.so"))?;
    }
    fs.write("/AWS_FOR_FLUENT_BIT_VERSION", "3.2.0\n")?;
    Ok(fs)
}

const LOADS: &str = "exec /fluent-bit/bin/fluent-bit -e /fluent-bit/firehose.so -e /fluent-bit/cloudwatch.so \
                     -e /fluent-bit/kinesis.so -c";

fn awss(binary: &Binary) -> Result<(), Failed> {
    let fs = awss_base(binary)?;
    fs.write("/entrypoint.sh", &format!("cat /AWS_FOR_FLUENT_BIT_VERSION\n{LOADS} {CONFIGURATION}\n"))?;
    let image = Image::of("aws-for-fluent-bit", fs)?;
    image.delivers(&["/bin/sh", "-c", "/bin/sh /entrypoint.sh"], CONFIGURATION, &[])
}

/// The init process writes into /init what the shell then runs.
fn awss_init(binary: &Binary) -> Result<(), Failed> {
    let fs = awss_base(binary)?;
    let init = format!("echo '{LOADS} /init/fluent-bit-init.conf' >/init/invoke_fluent_bit.sh\n");
    fs.write("/init/fluent_bit_init_process", &init)?;
    let start = "/bin/sh /init/fluent_bit_init_process\n. /init/invoke_fluent_bit.sh\n";
    fs.write("/init/fluent_bit_init_entrypoint.sh", start)?;
    let image = Image::of("aws-for-fluent-bit-init", fs)?;
    let entrypoint = ["/bin/sh", "-c", "/bin/sh /init/fluent_bit_init_entrypoint.sh"];
    image.delivers(&entrypoint, "/init/fluent-bit-init.conf", &[])
}
