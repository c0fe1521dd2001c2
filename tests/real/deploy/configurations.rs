//! The configurations of Fluent Bit under `deploy/`, as its charts and operators write them from their values and
//! resources. What one of these sets that has no place here is an error.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use testing::sources::{files, read};

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("every_way_to_deploy_configures_the_same", ways_agree)]
}

type Documents = Vec<Value>;
type Text = Result<String, Failed>;

/// Names of Fluent Bit for the fields of fluent-operator's resources, in the order of a section.
type Names = &'static [(&'static str, &'static str)];

/// As `Params` of the operator's service and plugins.
/// <https://github.com/fluent/fluent-operator/tree/v3.10.0/apis/fluentbit/v1alpha2> (2026-08-17)
const SERVICE: Names = &[
    ("flushSeconds", "Flush"),
    ("graceSeconds", "Grace"),
    ("healthCheck", "Health_Check"),
    ("httpListen", "Http_Listen"),
    ("httpPort", "Http_Port"),
    ("httpServer", "Http_Server"),
    ("logLevel", "Log_Level"),
    ("parsersFile", "Parsers_File"),
    ("schedulerBase", "scheduler.base"),
    ("schedulerCap", "scheduler.cap"),
];
const STORAGE: Names = &[
    ("path", "storage.path"),
    ("sync", "storage.sync"),
    ("checksum", "storage.checksum"),
    ("backlogMemLimit", "storage.backlog.mem_limit"),
    ("metrics", "storage.metrics"),
    ("maxChunksUp", "storage.max_chunks_up"),
];
const TAIL: Names = &[
    ("bufferMaxSize", "Buffer_Max_Size"),
    ("path", "Path"),
    ("excludePath", "Exclude_Path"),
    ("skipLongLines", "Skip_Long_Lines"),
    ("db", "DB"),
    ("tag", "Tag"),
    ("multilineParser", "multiline.parser"),
    ("storageType", "storage.type"),
    ("readFromHead", "Read_from_Head"),
    ("dbLocking", "DB.locking"),
];
const KUBERNETES: Names = &[
    ("mergeLog", "Merge_Log"),
    ("keepLog", "Keep_Log"),
    ("k8sLoggingParser", "K8S-Logging.Parser"),
    ("k8sLoggingExclude", "K8S-Logging.Exclude"),
];
const OUTPUT: Names = &[("match", "Match"), ("retry_limit", "Retry_Limit")];

/// The configmap of the manifests.
pub fn manifests() -> Text {
    let resources = documents("deploy/kubernetes/fluent-bit.yaml")?;
    Ok(text(&of_kind(&resources, "ConfigMap")?["data"], "fluent-bit.conf")?.to_owned())
}

/// The configmap of the chart fluent-bit: the values' texts joined, with what they ask for.
pub fn fluent_bit_chart() -> Text {
    let values = documents("deploy/helm/values.yaml")?.pop().ok_or("there are no values")?;
    let parts = ["service", "inputs", "filters", "outputs"].map(|part| text(&values["config"], part));
    let text = parts.into_iter().collect::<Result<Vec<_>, Failed>>()?.join("\n");
    let text = text
        .replace("{{ .Values.flush }}", "1")
        .replace("{{ .Values.logLevel }}", "info")
        .replace("{{ .Values.metricsPort }}", "2020")
        .replace("{{ .Release.Namespace }}", "logging");
    if text.contains("{{") { Err(format!("a template is left: {text}").into()) } else { Ok(text) }
}

/// The secret that fluent-operator makes of its resources.
pub fn fluent_operator() -> Text {
    let resources = documents("deploy/kubernetes/fluent-operator.yaml")?;
    let mut service = spec(&resources, "ClusterFluentBitConfig")?["service"].clone();
    let storage = without(&mut service, "storage");
    let tail = &spec(&resources, "ClusterInput")?["tail"];
    let filter = spec(&resources, "ClusterFilter")?;
    let kubernetes = &filter["filters"][0]["kubernetes"];
    let mut output = spec(&resources, "ClusterOutput")?.clone();
    let custom = without(&mut output, "customPlugin");
    let config = text(&custom, "config")?;
    let trimmed = config.lines().map(|line| format!("    {}\n", line.trim()));
    Ok(["[Service]\n".to_owned(), lines(&service, SERVICE)?, lines(&storage, STORAGE)?]
        .into_iter()
        .chain(["\n[Input]\n    Name    tail\n".to_owned(), lines(tail, TAIL)?])
        .chain(["\n[Filter]\n    Name    kubernetes\n".to_owned()])
        .chain([format!("    Match    {}\n", text(filter, "match")?), lines(kubernetes, KUBERNETES)?])
        .chain(["\n[Output]\n".to_owned(), lines(&output, OUTPUT)?])
        .chain(trimmed)
        .collect())
}

/// The secret that logging-operator mounts as it is.
pub fn logging_operator() -> Text {
    let resources = documents("deploy/kubernetes/logging-operator.yaml")?;
    Ok(text(&of_kind(&resources, "Secret")?["stringData"], "fluent-bit.conf")?.to_owned())
}

/// The configmap that the chart aws-for-fluent-bit makes of its values and its defaults.
/// <https://github.com/aws/eks-charts/blob/master/stable/aws-for-fluent-bit/templates/configmap.yaml> (2026-02-03)
pub fn aws_for_fluent_bit() -> Text {
    let values = documents("deploy/helm/aws-for-fluent-bit.yaml")?.pop().ok_or("there are no values")?;
    let [service, input, filter, kinesis] = ["service", "input", "filter", "kinesis"].map(|name| &values[name]);
    for (name, value) in [("filter.mergeLogKey", &filter["mergeLogKey"]), ("partitionKey", &kinesis["partitionKey"])] {
        if value != "" {
            return Err(format!("{name} is {value}, and would be written").into());
        }
    }
    if values["cloudWatchLogs"]["enabled"] != false || kinesis["enabled"] != true {
        return Err("kinesis is not the only output".into());
    }
    Ok(format!(
        "[SERVICE]\n{}\n    Parsers_File /fluent-bit/parsers/parsers.conf\n\n\
         [INPUT]\n    Name tail\n    Tag kube.*\n    Path /var/log/containers/*.log\n    DB {}\n    \
         multiline.parser docker, cri\n    Mem_Buf_Limit 5MB\n    Skip_Long_Lines On\n    Refresh_Interval 10\n{}\n\
         [FILTER]\n    Name kubernetes\n    Match kube.*\n    \
         Kube_URL https://kubernetes.default.svc.cluster.local:443\n    Merge_Log On\n    Keep_Log {}\n    \
         K8S-Logging.Parser On\n    K8S-Logging.Exclude On\n    Buffer_Size 32k\n\n\
         [OUTPUT]\n    Name kinesis\n    Match {}\n    region {}\n    stream {}\n{}",
        indented(text(service, "extraService")?),
        text(input, "db")?,
        indented(text(input, "extraInputs")?),
        text(filter, "keepLog")?,
        text(kinesis, "match")?,
        text(kinesis, "region")?,
        text(kinesis, "stream")?,
        indented(text(kinesis, "extraOutputs")?),
    ))
}

pub fn documents(file: &str) -> Result<Documents, Failed> {
    serde_saphyr::from_multiple(&read(file)).map_err(|error| format!("{file}: {error}").into())
}

pub fn of_kind<'a>(resources: &'a [Value], kind: &str) -> Result<&'a Value, Failed> {
    let resource = resources.iter().find(|resource| resource["kind"] == kind);
    resource.ok_or_else(|| format!("there is no {kind}").into())
}

fn spec<'a>(resources: &'a [Value], kind: &str) -> Result<&'a Value, Failed> {
    Ok(&of_kind(resources, kind)?["spec"])
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Failed> {
    value[name].as_str().ok_or_else(|| format!("{name} is no text in {value}").into())
}

/// Takes a field out of an object.
fn without(object: &mut Value, name: &str) -> Value {
    object.as_object_mut().and_then(|fields| fields.remove(name)).unwrap_or_default()
}

/// The fields as lines of a section.
fn lines(fields: &Value, names: Names) -> Text {
    let fields = fields.as_object().ok_or_else(|| format!("{fields} has no fields"))?;
    if let Some(name) = fields.keys().find(|name| !names.iter().any(|(field, _)| field == name)) {
        return Err(format!("it is not said here what becomes of {name}").into());
    }
    let given = names.iter().filter_map(|(field, name)| Some((name, fields.get(*field)?)));
    let line = |(name, value): (&&str, &Value)| match value.as_str() {
        Some(text) => format!("    {name}    {text}\n"),
        None => format!("    {name}    {value}\n"),
    };
    Ok(given.map(line).collect())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// Where things are, which each may choose.
const PLACES: [&str; 4] = ["storage.path", "db", "exclude_path", "parsers_file"];

/// A name, its configuration, and what it sets otherwise for a reason that its file tells.
type Other = (&'static str, fn() -> Text, &'static [&'static str]);

const OTHERS: [Other; 4] = [
    ("the chart fluent-bit", fluent_bit_chart, &[]),
    ("fluent-operator", fluent_operator, &[]),
    ("logging-operator", logging_operator, &[]),
    ("the chart aws-for-fluent-bit", aws_for_fluent_bit, &["grace"]),
];

/// What the manifests set, the others set alike.
fn ways_agree() -> Result<(), Failed> {
    let wanted = settings(&manifests()?);
    let mut differences = Vec::new();
    // docs/tuning.md says to leave them out: the operators reload Fluent Bit, which is not safe with workers.
    for file in files("deploy", "").into_iter().filter(|file| file.text.to_lowercase().contains("workers")) {
        differences.push(format!("{} sets workers", file.path));
    }
    for (name, configuration, excepted) in OTHERS {
        let given = settings(&configuration()?);
        for ((section, key), value) in &wanted {
            let there = given.get(&(section.clone(), key.clone()));
            if there != Some(value) && !PLACES.contains(&key.as_str()) && !excepted.contains(&key.as_str()) {
                differences.push(format!("{name}: {section} {key} is {there:?}, not {value}"));
            }
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

/// The value of each key in each section. Neither keys nor values that mean yes and no differ by how they are written.
fn settings(text: &str) -> BTreeMap<(String, String), String> {
    let mut section = String::new();
    let mut settings = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line.to_lowercase();
        } else if let Some((key, value)) = line.split_once(' ') {
            let value = value.trim().to_lowercase();
            let value = value.replace("true", "on").replace("false", "off");
            settings.insert((section.clone(), key.to_lowercase()), value);
        }
    }
    settings
}
