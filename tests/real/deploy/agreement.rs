//! The files under `deploy/` and `.github/` agree on paths, names and versions, and the files they name exist.

use std::collections::{BTreeSet, HashSet};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use super::configurations::{documents, manifests, of_kind};
use super::dockerfile::{Stage, copies, instructions, stages};
use testing::sources::{files, read, root};

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, Test); 15] = [
        ("the_image_is_built_of_files_that_are_there", copied_files_exist),
        ("the_build_is_given_what_it_copies", nothing_needed_is_ignored),
        ("an_image_holds_the_library_of_its_architecture", architecture_is_given),
        ("the_image_and_the_release_are_built_by_one_compiler", compilers_agree),
        ("every_workflow_builds_with_the_compiler_of_the_release", workflows_agree),
        ("one_check_stands_for_every_job", one_check_needs_all),
        ("an_action_is_a_commit", actions_are_commits),
        ("dependabot_looks_at_every_list_of_other_peoples_code", dependabot_sees_all),
        ("the_library_is_where_it_is_loaded_from", paths_agree),
        ("no_image_runs_as_root_by_itself", images_are_not_root),
        ("an_image_is_built_on_a_digest", images_are_digests),
        ("the_images_that_are_released_are_those_that_were_tested", released_images_are_tested),
        ("images_carry_the_version_of_the_crate", versions_agree),
        ("prometheus_is_told_where_the_pods_have_their_metrics", metrics_are_found),
        ("a_stop_waits_longer_than_fluent_bits_grace", stops_are_patient),
    ];
    tests.map(|(name, test)| Trial::test(name, test)).into()
}

type Test = fn() -> Result<(), Failed>;

fn must(holds: bool, otherwise: String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn copied_files_exist() -> Result<(), Failed> {
    let stages = stages();
    must(copies().len() >= 10, format!("{} COPY were found", copies().len()))?;
    for copy in copies() {
        for source in copy.sources {
            match &copy.from {
                None => must(root().join(&source).exists(), format!("there is no {source}"))?,
                Some(stage) => {
                    let stage = stages.iter().find(|found| found.name == *stage).ok_or("no such stage")?;
                    must(stage.lines.concat().contains(&source), format!("{} makes no {source}", stage.name))?;
                }
            }
        }
    }
    Ok(())
}

/// What the build reads: everything that cargo needs for its manifest, plus what is copied or run.
fn nothing_needed_is_ignored() -> Result<(), Failed> {
    let ignored = read("deploy/docker/Dockerfile.dockerignore");
    let given: HashSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let is_given = |path: &str| given.iter().any(|given| path == *given || path.starts_with(&format!("{given}/")));
    must(ignored.lines().any(|line| line == "*"), "it does not begin with nothing".to_owned())?;
    for path in &given {
        must(root().join(path).exists(), format!("there is no {path}"))?;
    }
    let needed = [
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "src",
        "testing",
        "tests",
        "benches",
        "examples",
        "Makefile",
        "scripts",
    ];
    let copied = copies().into_iter().filter(|copy| copy.from.is_none()).flat_map(|copy| copy.sources);
    let makes = read("Makefile");
    let list = makes.lines().find_map(|line| line.strip_prefix(".cargo-tools/zig/installed: ")).unwrap_or_default();
    must(!list.is_empty(), "the Makefile does not install zig".to_owned())?;
    for path in needed.into_iter().map(str::to_owned).chain(copied).chain([list.to_owned()]).filter(|path| path != ".")
    {
        must(is_given(&path), format!("the build does not get {path}"))?;
    }
    Ok(())
}

/// The builder sets these where a stage declares them; a default would apply to every architecture.
fn architecture_is_given() -> Result<(), Failed> {
    let mut asked = 0;
    for Stage { name, lines, .. } in stages() {
        let arguments: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("ARG ")).collect();
        for argument in ["TARGETARCH", "TARGETPLATFORM", "TARGETOS", "TARGETVARIANT"] {
            if lines.iter().any(|line| line.contains(argument)) {
                asked += 1;
                must(arguments.contains(&argument), format!("{name} needs `ARG {argument}` alone, has {arguments:?}"))?;
            }
        }
    }
    must(asked > 0, "no stage asks for the architecture".to_owned())
}

/// The version of Rust that builds the image.
fn compiler() -> Result<String, Failed> {
    let image = instructions().iter().find_map(|line| Some(line.split_once(" rust:")?.1.split('-').next()?.to_owned()));
    Ok(image.ok_or("the image is built without Rust")?)
}

/// There is no rust-toolchain.toml: it would make rustup fetch that version on machines that have a newer one and no
/// network. Anyone may build from source with any Rust since the one in Cargo.toml.
fn workflows_agree() -> Result<(), Failed> {
    let (compiler, mut found) = (compiler()?, 0);
    for file in files(".github/workflows", ".yml") {
        for asked in file.text.split("rustup toolchain install ").skip(1) {
            found += 1;
            // The job that builds with the oldest version reads it from Cargo.toml.
            let version = asked.split_whitespace().next().unwrap_or_default();
            must(version == compiler || version == "\"$version\"", format!("{} takes Rust {version}", file.path))?;
        }
    }
    must(found >= 8, format!("{found} were found"))?;
    let container = read(".devcontainer/devcontainer.json");
    must(
        container.contains(&format!("\"rust:{compiler}-")),
        format!("the development container lacks Rust {compiler}"),
    )?;
    let oldest = |manifest: &str| {
        let text = read(manifest);
        text.lines().find_map(|line| Some(line.strip_prefix("rust-version = ")?.trim_matches('"').to_owned()))
    };
    let number = |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    let is_newer = oldest("Cargo.toml").is_some_and(|oldest| number(&oldest) <= number(&compiler));
    must(is_newer, format!("Rust {compiler} is older than that of Cargo.toml"))?;
    must(oldest("Cargo.toml") == oldest("testing/Cargo.toml"), "testing/ has another rust-version".to_owned())
}

/// The branch is protected by a single check, so it must wait for every job.
fn one_check_needs_all() -> Result<(), Failed> {
    let text = read(".github/workflows/ci.yml");
    let (_, jobs) = text.split_once("\njobs:\n").ok_or("no jobs")?;
    let is_job = |line: &&str| line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
    let jobs: Vec<&str> = jobs.lines().filter(is_job).map(|line| line.trim().trim_end_matches(':')).collect();
    let needs = text.split_once("needs: [").and_then(|(_, rest)| rest.split_once(']')).ok_or("nothing is needed")?.0;
    let needs: Vec<&str> = needs.split(", ").collect();
    let others: Vec<&str> = jobs.into_iter().filter(|job| *job != "ci-pass").collect();
    must(needs == others, format!("ci-pass needs {needs:?}, there are {others:?}"))
}

/// Only the same compiler produces the same bytes.
fn compilers_agree() -> Result<(), Failed> {
    let image = compiler()?;
    let build = format!("rustup toolchain install {image} --profile minimal && rustup default {image} ");
    must(read(".github/workflows/library.yml").contains(&build), format!("library.yml does not build with {image}"))
}

/// A tag can be moved, a commit cannot. The version follows it, for people and for Dependabot.
fn actions_are_commits() -> Result<(), Failed> {
    let mut found = 0;
    for file in files(".github/workflows", "") {
        let uses = file.text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "));
        for action in uses.filter(|action| !action.starts_with("./")) {
            found += 1;
            let (commit, version) =
                action.split_once('@').and_then(|(_, at)| at.split_once(" # v")).unwrap_or_default();
            let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_version = version.split('.').filter(|part| part.parse::<u32>().is_ok()).count() == 3;
            must(is_commit && is_version, format!("{}: {action}", file.path))?;
        }
    }
    must(found >= 10, format!("{found} actions were found"))
}

/// Kind and folder of each list, in the files and in Dependabot's configuration.
fn dependabot_sees_all() -> Result<(), Failed> {
    let mut lists = BTreeSet::from([("github-actions".to_owned(), "/".to_owned())]);
    for (name, mark, kind) in [
        ("Cargo.lock", "[[package]]", "cargo"),
        ("package-lock.json", "packages", "npm"),
        ("Dockerfile", "FROM", "docker"),
        (".txt", "--hash=sha256:", "pip"),
        (".tf", "required_providers", "terraform"),
    ] {
        for file in files("", name).into_iter().filter(|file| file.text.contains(mark)) {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            lists.insert((kind.to_owned(), format!("/{folder}")));
        }
    }
    let mut seen = BTreeSet::new();
    for update in read(".github/dependabot.yml").split("package-ecosystem: ").skip(1) {
        let folders = update.lines().find_map(|line| line.trim().strip_prefix("director")?.split_once(": "));
        let folders = folders.map_or("", |(_, folders)| folders).trim_matches(['[', ']']);
        let kind = update.lines().next().unwrap_or_default();
        seen.extend(folders.split(", ").map(|folder| (kind.to_owned(), folder.to_owned())));
    }
    must(seen == lists, format!("it looks at {seen:?}, there is {lists:?}"))
}

fn paths_agree() -> Result<(), Failed> {
    let stages = stages();
    let lays = |stage: &str, line: &str| {
        stages.iter().any(|found| found.name == stage && found.lines.iter().any(|instruction| instruction == line))
    };
    // Where AWS's entrypoint, and the configurations, load it from.
    let library = "COPY --from=build /$TARGETARCH/kinesis.so /fluent-bit/kinesis.so";
    must(
        lays("aws-for-fluent-bit", library) && lays("fluent-bit", library),
        "not at /fluent-bit/kinesis.so".to_owned(),
    )?;
    must(
        read("fluent-bit-conf/plugins.conf").contains("\n    Path /fluent-bit/kinesis.so\n"),
        "plugins.conf".to_owned(),
    )?;
    must(
        lays("fluent-bit", "COPY fluent-bit-conf/plugins.conf /fluent-bit/etc/plugins.conf"),
        "plugins.conf is not where Fluent Bit's own configuration reads it".to_owned(),
    )?;
    must(
        lays("plugin", "CMD [\"cp\", \"/kinesis.so\", \"/plugin/kinesis.so\"]"),
        "the carrier does not copy to /plugin".to_owned(),
    )?;
    for (file, load) in [
        ("deploy/kubernetes/fluent-bit.yaml", "-e, /plugin/kinesis.so"),
        ("deploy/kubernetes/fluent-operator.yaml", "-e, /plugin/kinesis.so"),
        ("deploy/helm/values.yaml", "--plugin=/plugin/kinesis.so"),
    ] {
        let text = read(file);
        must(text.contains("[cp, /kinesis.so, /plugin/kinesis.so]"), format!("{file}: what the init container does"))?;
        must(text.contains(load) && text.matches("mountPath: /plugin\n").count() == 2, format!("{file}: {load}"))?;
    }
    must(
        read("deploy/kubernetes/logging-operator.yaml").contains(" /fluent-bit/etc/plugins.conf\n"),
        "logging-operator's secret does not load the image's plugins.conf".to_owned(),
    )?;
    let extra =
        task_definition()["containerDefinitions"][0]["firelensConfiguration"]["options"]["config-file-value"].clone();
    let baked = format!("COPY deploy/ecs/extra.conf {}", extra.as_str().unwrap_or_default());
    must(lays("aws-for-fluent-bit", &baked), format!("no {baked}"))
}

/// But for that whose entrypoint writes where only root may.
fn images_are_not_root() -> Result<(), Failed> {
    for stage in stages().iter().filter(|stage| !["build", "state"].contains(&stage.name.as_str())) {
        let user = stage.lines.iter().rev().find_map(|line| line.strip_prefix("USER "));
        let wanted = if stage.name == "aws-for-fluent-bit-init" { "0:0" } else { "65532:65532" };
        must(user == Some(wanted), format!("{} runs as {user:?}", stage.name))?;
    }
    Ok(())
}

/// A tag can be moved. What our own argument names may carry a digest, too.
fn images_are_digests() -> Result<(), Failed> {
    let (stages, mut found) = (stages(), 0);
    for Stage { name, base, .. } in &stages {
        let is_ours = stages.iter().any(|stage| stage.name == *base) || base.contains("${");
        let digest = base.split_once("@sha256:").map_or("", |(_, digest)| digest);
        found += usize::from(!is_ours);
        must(is_ours || digest.len() == 64, format!("{name} is built on {base}, which is no digest"))?;
    }
    must(found == 3, format!("{found} were found"))
}

/// The stages and arguments that a workflow builds.
fn images_of(workflow: &str) -> BTreeSet<(String, String)> {
    let text = read(workflow).replace(", argument: ", "\nargument: ").replace("{ target: ", "target: ");
    let text = text.replace(", target: ", "\ntarget: ");
    let value = |line: &str, name: &str| {
        Some(line.trim().trim_start_matches("- ").strip_prefix(name)?.trim_matches([' ', '"', '}']).to_owned())
    };
    let lines: Vec<&str> = text.lines().collect();
    lines.windows(2).filter_map(|pair| Some((value(pair[0], "target: ")?, value(pair[1], "argument: ")?))).collect()
}

fn released_images_are_tested() -> Result<(), Failed> {
    let (tested, released) = (images_of(".github/workflows/library.yml"), images_of(".github/workflows/release.yml"));
    let targets: BTreeSet<&str> = released.iter().map(|(target, _)| target.as_str()).collect();
    let stages = stages();
    let made = stages.iter().map(|stage| stage.name.as_str()).filter(|name| !["build", "state"].contains(name));
    must(targets == made.collect(), format!("{targets:?} are released"))?;
    must(tested == released, format!("{tested:?} are tested, {released:?} are released"))
}

fn versions_agree() -> Result<(), Failed> {
    let ours = ["/kinesis-plugin:", "/aws-for-fluent-bit-kinesis:", "/fluent-bit-kinesis:"];
    // In a table.
    let named = ours.map(|image| image.replace('/', "`"));
    // As values of a chart or an operator.
    let apart = ours.map(|image| image.replace(':', "\n"));
    let mut found = 0;
    for file in files("deploy", "").into_iter().filter(|file| !file.path.ends_with(".txt")) {
        for image in ours.into_iter().chain(named.iter().chain(&apart).map(String::as_str)) {
            for (at, _) in file.text.match_indices(image) {
                let rest = file.text[at + image.len()..].trim_start().trim_start_matches("tag: ");
                let tag = rest.split(|c: char| c.is_whitespace() || "\"`".contains(c)).next().unwrap_or_default();
                // The other tags of AWS's image.
                let tag = tag.trim_start_matches("init-").trim_end_matches("-2.x");
                found += 1;
                must(tag == env!("CARGO_PKG_VERSION"), format!("{}: {image}{tag}", file.path))?;
            }
        }
    }
    must(found >= 14, format!("{found} images were found"))
}

/// A label or a port that does not agree finds no pods, and nobody says so.
fn metrics_are_found() -> Result<(), Failed> {
    let pods = documents("deploy/kubernetes/fluent-bit.yaml")?;
    let monitors = documents("deploy/kubernetes/podmonitor.yaml")?;
    let (pods, monitor) = (of_kind(&pods, "DaemonSet")?, of_kind(&monitors, "PodMonitor")?);
    let (template, spec) = (&pods["spec"]["template"], &monitor["spec"]);
    let (wanted, labels) = (&spec["selector"]["matchLabels"], &template["metadata"]["labels"]);
    let wanted = wanted.as_object().filter(|wanted| !wanted.is_empty()).ok_or("it selects every pod")?;
    must(wanted.iter().all(|(name, value)| labels[name] == *value), format!("{wanted:?} are not of {labels}"))?;
    let namespaces = [pods, monitor].map(|resource| &resource["metadata"]["namespace"]);
    must(namespaces[0] == namespaces[1], format!("the namespaces are {namespaces:?}"))?;
    let ports = template["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = ports.filter_map(|container| container["ports"].as_array()).flatten();
    let endpoint = &spec["podMetricsEndpoints"][0];
    let port = ports.find(|port| port["name"] == endpoint["port"]).ok_or(format!("no port is like {endpoint}"))?;
    let configured = number(&manifests()?, "\n    HTTP_Port ");
    must(port["containerPort"].as_u64() == configured, format!("{port}, and Fluent Bit has {configured:?}"))?;
    let path = format!("`{}`", endpoint["path"].as_str().unwrap_or_default());
    must(read("docs/metrics.md").contains(&path), format!("docs/metrics.md has no {path}"))
}

fn task_definition() -> Value {
    serde_json::from_str(&read("deploy/ecs/task-definition.json")).unwrap_or_default()
}

/// The number after the first `name` in a text.
fn number(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn stops_are_patient() -> Result<(), Failed> {
    let stop = task_definition()["containerDefinitions"][0]["stopTimeout"].as_u64();
    let kubernetes = read("deploy/kubernetes/fluent-bit.yaml");
    let fluent_operator = read("deploy/kubernetes/fluent-operator.yaml");
    let logging_operator = read("deploy/kubernetes/logging-operator.yaml");
    let helm = read("deploy/helm/values.yaml");
    let systemd = read("deploy/systemd/kinesis.conf");
    let patience = "terminationGracePeriodSeconds:";
    for (whose, grace, stop) in [
        ("FireLens", number(&read("deploy/ecs/extra.conf"), "\n    Grace "), stop),
        ("Kubernetes", number(&kubernetes, "\n        Grace "), number(&kubernetes, patience)),
        (
            "fluent-operator",
            number(&fluent_operator, "\n    graceSeconds: "),
            number(&fluent_operator, &format!("\n  {patience}")),
        ),
        ("logging-operator", number(&logging_operator, "\n        Grace "), number(&logging_operator, patience)),
        // The chart leaves pods what Kubernetes gives by default.
        ("the chart of AWS", number(&read("deploy/helm/aws-for-fluent-bit.yaml"), "\n    Grace "), Some(30)),
        ("Helm", number(&helm, "\n        Grace "), number(&helm, patience)),
        (
            "systemd",
            number(&read("fluent-bit-conf/reliable.conf"), "\n    Grace "),
            number(&systemd, "TimeoutStopSec="),
        ),
    ] {
        let enough = matches!((grace, stop), (Some(grace), Some(stop)) if stop >= grace + 10);
        must(enough, format!("{whose}: grace {grace:?}, stop {stop:?}"))?;
    }
    Ok(())
}
