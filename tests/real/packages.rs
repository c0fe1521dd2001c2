//! The packages that `scripts/packages` makes: what is in them, whom it belongs to, what they need, and that Fluent Bit
//! loads what they install.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, Mutex};

use libtest_mimic::{Completion, Failed, Trial};
use serde::Deserialize;
use tempfile::TempDir;

use crate::deploy::{succeeds, tool, unless_missing};
use crate::fluent_bit::host::Binary;
use crate::fluent_bit::{binaries, not_run, text};
use crate::root_fs::{RootFs, as_root};
use testing::host::library::built_plugin;
use testing::programs::said;
use testing::sources::{files, read, root};

const PLUGINS: &str = "/usr/share/fluent-bit-kinesis/plugins.conf";
const DOC: &str = "/usr/share/doc/fluent-bit-kinesis";
const LIBRARY: &str = "/usr/lib/fluent-bit/kinesis.so";

type Check = fn() -> Result<(), Failed>;

pub fn trials() -> Vec<Trial> {
    let checks: [(&str, Check); 6] = [
        ("a_package_holds_the_library_the_configurations_and_the_licences", everything_is_there),
        ("what_is_installed_belongs_to_root_and_nobody_else_may_change_it", only_root_may_write),
        ("a_package_needs_glibc_2_17_and_runs_nothing", needs_glibc_alone),
        ("a_package_has_the_crates_version_and_the_librarys_architecture", is_named_after_its_content),
        ("the_configurations_name_what_is_installed", paths_are_those_installed),
        ("the_same_library_makes_the_same_packages", is_reproducible),
    ];
    let mut trials: Vec<Trial> =
        checks.into_iter().map(|(name, check)| unless_missing(name, missing(), check)).collect();
    match binaries() {
        Ok(binaries) => trials.extend(binaries.into_iter().map(installed)),
        Err(reason) => trials.push(not_run(INSTALLED.to_owned(), reason)),
    }
    trials
}

fn missing() -> Option<String> {
    let tools = ["cargo-deb", "cargo-generate-rpm"].map(|tool| root().join(".cargo-tools/bin").join(tool));
    let missing = tools.into_iter().chain([tool("python")]).find(|tool| !tool.exists())?;
    Some(format!("{} is not installed: `make peers` does that", missing.file_name()?.display()))
}

/// A package, unpacked, as tests/real/packages.py tells of it.
#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    architecture: String,
    needs: String,
    scripts: Vec<String>,
    files: BTreeMap<String, Entry>,
    folders: BTreeMap<String, Entry>,
    #[serde(skip)]
    is_deb: bool,
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Entry {
    mode: String,
    owner: String,
}

impl Package {
    fn read(&self, name: &str) -> Result<Vec<u8>, Failed> {
        Ok(fs::read(self.folder.join(name.trim_start_matches('/')))?)
    }

    fn fails(&self, what: impl std::fmt::Display) -> Failed {
        format!("{} {}, {}: {what}", self.name, self.architecture, if self.is_deb { "deb" } else { "rpm" }).into()
    }
}

/// The header of a library for a machine, by the number of its architecture: all that packaging looks at.
fn library_for(machine: u16) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(64, 0);
    header[16] = 3;
    header[18..20].copy_from_slice(&machine.to_le_bytes());
    header
}

const X86_64: u16 = 62;
const ARM64: u16 = 183;

/// Packages libraries, and returns the files that are then in the folder.
fn package(libraries: &[PathBuf], into: &Path) -> Result<Vec<PathBuf>, Failed> {
    // Each is laid out in the same place.
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _one = ONE_BY_ONE.lock();
    succeeds(Command::new("scripts/packages").args(libraries).env("PACKAGES", into))?;
    let mut made = fs::read_dir(into)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    made.sort();
    Ok(made)
}

/// Packages for both architectures.
fn made(folder: &TempDir) -> Result<Vec<PathBuf>, Failed> {
    let libraries = [X86_64, ARM64].map(|machine| folder.path().join(format!("{machine}.so")));
    fs::write(&libraries[0], library_for(X86_64))?;
    fs::write(&libraries[1], library_for(ARM64))?;
    package(&libraries, &folder.path().join("made"))
}

fn each(check: impl Fn(&Package) -> Result<(), Failed>) -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let made = made(&folder)?;
    for (number, path) in made.iter().enumerate() {
        let unpacked = folder.path().join(number.to_string());
        let mut unpack = Command::new(tool("python"));
        unpack.arg(root().join("tests/real/packages.py")).args([path, &unpacked]).stdin(Stdio::null());
        let ran = unpack.output()?;
        if !ran.status.success() {
            return Err(format!("{}: {}", path.display(), said(&ran)).into());
        }
        let is_deb = path.extension().is_some_and(|extension| extension == "deb");
        check(&Package { is_deb, folder: unpacked, ..serde_json::from_slice(&ran.stdout)? })?;
    }
    if made.len() == 4 { Ok(()) } else { Err(format!("these were made: {made:?}").into()) }
}

/// The configurations that are examples: one of the others is packaged elsewhere, one is for `make demo`.
fn examples() -> impl Iterator<Item = String> {
    let files = files("fluent-bit-conf", "").into_iter().chain(files("examples/audit", "/replay.yaml"));
    files
        .filter_map(|file| Some(file.path.rsplit_once('/')?.1.to_owned()))
        .filter(|name| !["plugins.conf", "demo.conf"].contains(&name.as_str()))
}

fn everything_is_there() -> Result<(), Failed> {
    let mut wanted = BTreeSet::from([LIBRARY.to_owned(), PLUGINS.to_owned()]);
    wanted.extend(["LICENSE", "THIRD-PARTY", "examples/systemd.conf"].map(|file| format!("{DOC}/{file}")));
    wanted.extend(examples().map(|name| format!("{DOC}/examples/{name}")));
    each(|package| {
        let mut wanted = wanted.clone();
        // Where Debian looks for the licence.
        wanted.extend(package.is_deb.then(|| format!("{DOC}/copyright")));
        let found: BTreeSet<String> = package.files.keys().cloned().collect();
        if found != wanted {
            return Err(package.fails(format!("it holds {found:?}, not {wanted:?}")));
        }
        for file in ["LICENSE", "THIRD-PARTY"] {
            if package.read(&format!("{DOC}/{file}"))? != read(file).into_bytes() {
                return Err(package.fails(format!("another {file}")));
            }
        }
        Ok(())
    })
}

fn only_root_may_write() -> Result<(), Failed> {
    each(|package| {
        let is_wrong = |entry: &Entry, mode: &str| entry.mode != mode || entry.owner != "0:0";
        let files = package.files.iter().filter(|(_, entry)| is_wrong(entry, "644"));
        let folders = package.folders.iter().filter(|(_, entry)| is_wrong(entry, "755"));
        match files.chain(folders).next() {
            Some((name, entry)) => Err(package.fails(format!("{name} is {} of {}", entry.mode, entry.owner))),
            None => Ok(()),
        }
    })
}

fn needs_glibc_alone() -> Result<(), Failed> {
    each(|package| {
        let wanted = if package.is_deb { "libc6 (>= 2.17)" } else { "libc.so.6(GLIBC_2.17)(64bit)" };
        match package.needs == wanted && package.scripts.is_empty() {
            true => Ok(()),
            false => Err(package.fails(format!("it needs {:?} and runs {:?}", package.needs, package.scripts))),
        }
    })
}

fn is_named_after_its_content() -> Result<(), Failed> {
    each(|package| {
        let machine = match package.architecture.as_str() {
            "amd64" | "x86_64" => X86_64,
            "arm64" | "aarch64" => ARM64,
            other => return Err(package.fails(format!("what is {other}?"))),
        };
        let version = concat!(env!("CARGO_PKG_VERSION"), "-1");
        let is_right = package.read(LIBRARY)? == library_for(machine)
            && package.version == version
            && package.name == env!("CARGO_PKG_NAME");
        if is_right { Ok(()) } else { Err(package.fails(format!("version {}, or another library", package.version))) }
    })
}

/// An image has other paths than a package.
fn paths_are_those_installed() -> Result<(), Failed> {
    each(|package| {
        let plugins = String::from_utf8(package.read(PLUGINS)?)?;
        if !plugins.ends_with(&format!("\n[PLUGINS]\n    Path {LIBRARY}\n")) || !plugins.contains(PLUGINS) {
            return Err(package.fails(plugins));
        }
        let mut named = 0;
        for name in package.files.keys().filter(|name| name.contains("/examples/") || *name == PLUGINS) {
            let text = String::from_utf8(package.read(name)?)?;
            named += text.matches(LIBRARY).count();
            let others = text.replace(LIBRARY, "").contains("kinesis.so");
            if others || text.contains(" /fluent-bit/") {
                return Err(package.fails(format!("{name} names what is not installed: {text}")));
            }
        }
        // Each example says how it is started.
        if named > examples().count() { Ok(()) } else { Err(package.fails(format!("{named} name the library"))) }
    })
}

fn is_reproducible() -> Result<(), Failed> {
    let folders = [TempDir::new()?, TempDir::new()?];
    let first = made(&folders[0])?;
    // Files get the time of their making, where a tool does not set it; rpm knows seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for (one, other) in first.iter().zip(made(&folders[1])?) {
        if one.file_name() != other.file_name() || fs::read(one)? != fs::read(&other)? {
            return Err(format!("{} differs", one.display()).into());
        }
    }
    Ok(())
}

const INSTALLED: &str = "what_dpkg_installed_delivers_in_fluent_bit";

/// dpkg installs the package where glibc is new enough, Fluent Bit loads it by the packaged plugins.conf and delivers,
/// and dpkg removes it.
fn installed(binary: Binary) -> Trial {
    Trial::ignorable_test(format!("{}::{INSTALLED}", text(binary.version)), move || {
        let reason = missing().or_else(dpkg_is_missing).or_else(|| RootFs::impossible(&binary.path));
        match reason {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => installs(&binary).map(|()| Completion::Completed),
        }
    })
}

fn dpkg_is_missing() -> Option<String> {
    let ran = Command::new("dpkg").arg("--version").output();
    (!ran.is_ok_and(|ran| ran.status.success())).then(|| "no dpkg".to_owned())
}

fn installs(binary: &Binary) -> Result<(), Failed> {
    const CONFIGURATION: &str = "/etc/fluent-bit/fluent-bit.conf";
    // For all versions, since compressing takes its time.
    static DEB: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| deb().map_err(|failed| format!("{failed:?}")));
    let deb = DEB.as_ref()?.to_string_lossy();
    // Where Fluent Bit's own packages put it.
    let fs = RootFs::with(&binary.path, "/opt/fluent-bit/bin/fluent-bit")?;
    for (glibc, is_enough) in [("2.16", false), ("2.17", true)] {
        fs.write("/var/lib/dpkg/status", &installed_glibc(glibc))?;
        let ran = dpkg(&fs, &["--install", &deb])?;
        if ran.status.success() != is_enough {
            return Err(format!("with glibc {glibc}: {}", said(&ran)).into());
        }
    }
    let plugins = format!("Plugins_File {PLUGINS}");
    let start = ["/opt/fluent-bit/bin/fluent-bit", "-c", CONFIGURATION];
    fs.delivers(&start, None, (CONFIGURATION, &[&plugins], &[]))?;
    let ran = dpkg(&fs, &["--remove", env!("CARGO_PKG_NAME")])?;
    match ran.status.success() && !fs.path("/usr/lib/fluent-bit").exists() && !fs.path(DOC).exists() {
        true => Ok(()),
        false => Err(said(&ran).into()),
    }
}

/// The package of the library under test, without what only debuggers read.
fn deb() -> Result<PathBuf, Failed> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder)?;
    let (library, stripped) = (built_plugin().map_err(|error| error.to_string())?, folder.join("kinesis.so"));
    let strips = Command::new("strip").arg("-o").args([&stripped, &library]).status();
    let library = if strips.is_ok_and(|status| status.success()) { stripped } else { library };
    let made = package(&[library], &folder.join("made"))?;
    Ok(made.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb")).ok_or("no .deb")?)
}

/// dpkg's list of what is installed: the C library alone.
fn installed_glibc(version: &str) -> String {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    format!(
        "Package: libc6\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\n\
         Maintainer: nobody\nDescription: the C library\n"
    )
}

fn dpkg(fs: &RootFs, arguments: &[&str]) -> Result<Output, Failed> {
    for folder in ["info", "updates"] {
        fs::create_dir_all(fs.path("/var/lib/dpkg").join(folder))?;
    }
    let root = format!("--root={}", fs.path("/").display());
    Ok(as_root(&["dpkg", &root]).args(arguments).stdin(Stdio::null()).output()?)
}
