//! What is under `deploy/`, `.github/` and in `deny.toml` is valid according to the tools and schemas of its
//! consumers, as far as that can be checked without a cluster, an account or a container engine; and its files agree
//! with each other.
//!
//! The tools come with `make peers`. A test without its tool is reported as ignored, with the reason.
//! `tests/real/fluent_bit/` tests that each configuration works in Fluent Bit.

mod agreement;
pub mod configurations;
pub mod dockerfile;
mod systemd;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Completion, Failed, Trial};
use testing::sources::root;

pub fn trials() -> Vec<Trial> {
    let scripts =
        [".ci", "scripts"].into_iter().flat_map(|folder| testing::sources::files(folder, "")).collect::<Vec<_>>();
    let in_bash = scripts.iter().filter(|file| file.text.starts_with("#!/usr/bin/env bash\n"));
    let in_bash: Vec<&str> = in_bash.map(|file| file.path.as_str()).collect();
    assert!(in_bash.contains(&".ci/run") && in_bash.contains(&"scripts/test"), "{in_bash:?}");
    let mut trials = vec![
        passes("the_dockerfile_passes_hadolint", &["hadolint"], &["deploy/docker/Dockerfile"]),
        passes(
            "the_workflows_pass_actionlint",
            &["actionlint", "-shellcheck=.venv/bin/shellcheck", "-pyflakes="],
            &[".github/workflows/"],
        ),
        passes("the_scripts_pass_shellcheck", &["shellcheck"], &in_bash),
        passes(
            "dependabot_understands_its_configuration",
            &["check-jsonschema", "--builtin-schema", "vendor.dependabot"],
            &[".github/dependabot.yml"],
        ),
        checked("the_manifests_are_those_of_kubernetes_and_its_operators", "kubernetes", &["deploy/kubernetes/.yaml"]),
        checked("the_guide_gives_the_alerts_to_the_operator_of_prometheus", "alerts", &["docs/guides/kubernetes.md"]),
        kustomized("the_manifests_for_kind_are_those_of_kubernetes", &["examples/kind/kustomization.yaml"]),
        checked("an_image_volume_fits_the_manifest", "patch", &["deploy/kubernetes/image-volume.json"]),
        checked("the_values_are_those_of_the_chart", "fluent-bit", &["deploy/helm/values.yaml"]),
        checked("an_image_volume_fits_the_chart", "image-volume", &["deploy/helm/image-volume.yaml"]),
        checked(
            "the_values_are_those_of_the_chart_of_aws",
            "aws-for-fluent-bit",
            &["deploy/helm/aws-for-fluent-bit.yaml"],
        ),
        checked(
            "what_is_given_to_aws_is_what_it_takes",
            "aws",
            &["deploy/ecs/task-definition.json", "deploy/kubernetes/pod-identity-association.json"],
        ),
        checked("the_policies_are_valid_and_give_no_more_than_needed", "iam", &["deploy/iam/.json"]),
        checked("terraform_gives_what_the_policies_give", "terraform", &["deploy/terraform/main.tf"]),
        denies_nothing("the_crates_have_licences_and_sources_that_are_allowed", &["licenses", "bans", "sources"]),
    ];
    trials.push(advisories());
    trials.extend(systemd::trials());
    trials.extend(agreement::trials());
    trials.extend(configurations::trials());
    trials
}

/// A program in `.venv/bin` accepts the files. A path such as `deploy/iam/.json` stands for all files in that folder
/// with that ending.
fn passes(name: &str, command: &[&str], files: &[&str]) -> Trial {
    let program = tool(command[0]);
    let mut arguments: Vec<String> = command[1..].iter().map(|argument| (*argument).to_owned()).collect();
    arguments.extend(files.iter().flat_map(|file| expanded(file)));
    unless_missing(name, missing(&program), move || succeeds(Command::new(&program).args(&arguments)))
}

/// One of the checks of `check.py` finds nothing wrong.
fn checked(name: &str, check: &str, files: &[&str]) -> Trial {
    passes(name, &["python", "tests/real/deploy/check.py", check], files)
}

/// As [`checked`], by kubectl too.
fn kustomized(name: &str, files: &[&str]) -> Trial {
    match missing(&tool("kubectl")) {
        None => checked(name, "kustomized", files),
        missing => unless_missing(name, missing, || Ok(())),
    }
}

/// cargo-deny accepts the crates. It reads those of every platform, but building has fetched only this one's.
fn denies_nothing(name: &str, checks: &'static [&str]) -> Trial {
    let program = tool("cargo-deny");
    unless_missing(name, missing(&program), move || {
        succeeds(Command::new(env!("CARGO")).args(["fetch", "--locked"]))?;
        succeeds(Command::new(&program).args(["--offline", "--log-level=error", "check"]).args(checks))
    })
}

pub fn tool(name: &str) -> PathBuf {
    root().join(".venv/bin").join(name)
}

pub fn succeeds(command: &mut Command) -> Result<(), Failed> {
    let ran = command.current_dir(root()).stdin(Stdio::null()).output()?;
    match ran.status.success() {
        true => Ok(()),
        false => Err([ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat().into()),
    }
}

/// The vulnerability database is on GitHub, so this runs only if it was fetched before; a workflow does so weekly.
fn advisories() -> Trial {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let databases = home.and_then(|home| home.join("advisory-dbs").read_dir().ok());
    // A failed fetch leaves a lock file.
    let fetched = databases.into_iter().flatten().flatten().any(|entry| entry.path().join(".git").exists());
    let name = "no_crate_has_a_known_vulnerability";
    if !fetched {
        let reason = "no database of vulnerabilities: `cargo deny fetch` gets it from GitHub";
        return Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)));
    }
    denies_nothing(name, &["advisories"])
}

fn expanded(path: &str) -> Vec<String> {
    let (folder, suffix) = path.rsplit_once('/').unwrap();
    if !suffix.is_empty() && !suffix.starts_with('.') {
        return vec![path.to_owned()];
    }
    let files = testing::sources::files(folder, suffix).into_iter().map(|file| file.path).collect::<Vec<_>>();
    assert!(!files.is_empty(), "nothing is in {path}");
    files
}

fn missing(program: &Path) -> Option<String> {
    let name = program.file_name().unwrap().display().to_string();
    (!program.exists()).then(|| format!("{name} is not installed: `make peers` does that"))
}

/// A test that is reported as ignored if there is a reason; if the tools were just installed, that is a failure.
pub fn unless_missing(
    name: &str,
    missing: Option<String>,
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || match missing {
        Some(reason) if env::var_os("PEERS").is_some() => Err(reason.into()),
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => test().map(|()| Completion::Completed),
    })
}
