//! A configuration with mistakes does not start, and the log says why.

use std::process::ExitStatus;

use libtest_mimic::Failed;

use super::host::{Binary, Home};
use super::known_faults::aborted_at_the_end;
use super::stand_in::{checked, home_beside, section, tail_to};
use super::{Claim, features};
use testing::fake_kinesis::{FakeKinesis, Settings};

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("every_mistake_is_in_the_log_and_stops_the_start", every_mistake),
        Claim::new("an_unknown_option_stops_the_start", unknown_option),
        Claim::new("two_outputs_with_one_ledger_file_are_refused", one_ledger_file),
        Claim::new("a_check_stops_the_start_when_the_stream_is_missing_and_passes_when_it_is_there", check),
        Claim::new("combinations_without_effect_and_a_ca_bundle_that_is_missing_are_told_together", without_effect),
        Claim::new("a_name_from_which_the_host_took_a_variable_and_a_wrong_scheme_are_told_in_the_log", first_tries),
        Claim::new("the_help_explains_every_option", help).needs(&features::HELP),
    ]
}

fn every_mistake(binary: &Binary) -> Result<(), Failed> {
    let log = refused(
        binary,
        &[
            "region Europe",
            "concurrency 257",
            "http_request_timeout soon",
            "external_id e1",
            "batch_request_max_size 1T",
        ],
    )?;
    let mistakes = [
        "[error] [output:kinesis:kinesis.0] stream: required: the name or ARN of a Kinesis stream",
        "[error] [output:kinesis:kinesis.0] region: 'Europe' is not valid: use a region's name, such as us-east-1",
        "[error] [output:kinesis:kinesis.0] external_id: only valid with role_arn",
        "[error] [output:kinesis:kinesis.0] batch_request_max_size: '1T' is not valid: ",
        "[error] [output:kinesis:kinesis.0] concurrency: '257' is not valid: use a whole number from 0 to 256",
        "[error] [output:kinesis:kinesis.0] http_request_timeout: 'soon' is not valid: ",
    ];
    match mistakes.iter().find(|mistake| !log.contains(**mistake)) {
        None => Ok(()),
        Some(missing) => Err(format!("not in the log: {missing}\n{log}").into()),
    }
}

fn without_effect(binary: &Binary) -> Result<(), Failed> {
    let keys = ["stream logs", "region eu-west-1", "aws_key_id AKIDEXAMPLE", "aws_sec_key secret"];
    let options = ["sts_endpoint sts.internal", "aws_iam_retries 3", "chomp_record on", "partition_key $tag"];
    let log = refused(binary, &[&keys[..], &options, &["ca_bundle /nowhere/ca.pem"]].concat())?;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("[error] [output:kinesis:kinesis.0] ")).collect();
    let mistakes = [
        "ca_bundle: /nowhere/ca.pem cannot be read: ",
        "sts_endpoint: with aws_key_id or process_credentials only valid with role_arn: nothing else asks STS",
        "aws_iam_retries: cannot be combined with aws_key_id or process_credentials: ",
        "chomp_record: only valid with format ltsv, csv, tsv, single_value or out_file",
        "partition_key: '$tag' is not valid: use $TAG for the tag",
    ];
    match mistakes.iter().all(|mistake| lines.iter().filter(|line| line.contains(mistake)).count() == 1) {
        true if lines.len() == mistakes.len() => Ok(()),
        _ => Err(log.into()),
    }
}

/// The first mistakes of those who come from Fluentd, and of those who try a stand-in.
fn first_tries(binary: &Binary) -> Result<(), Failed> {
    // It has an authority to trust, but another server answers.
    let (home, trusted) = home_beside(binary, checked())?;
    let plain = FakeKinesis::start(Settings::default());
    let configuration = tail_to(&trusted, &[], &[], &["stream logs-${tag}"]);
    let address = plain.endpoint().replace("http://", "");
    home.write("main.conf", &configuration.replace(&trusted.endpoint(), &address))?;
    home.append_lines(0..1)?;
    let mut fluent_bit = home.start("main.conf")?;
    let says = |text: &str| home.log().contains(text);
    fluent_bit.wait_until("it suspects the name", || says("the stream's name 'logs-' ends with '-': "))?;
    let advice = "the server does not speak TLS; if that is meant, write http:// before the endpoint; Fluent Bit keeps";
    fluent_bit.wait_until("it suspects the scheme", || says("[error] [output:kinesis:kinesis.0] ") && says(advice))?;
    fluent_bit.stop().map(drop)
}

fn unknown_option(binary: &Binary) -> Result<(), Failed> {
    let log = refused(binary, &["stream logs", "region eu-west-1", "steam logs"])?;
    // From 5.1.1 on the host reports it, before that the plugin.
    let texts = ["unknown configuration property 'steam'", "steam: no such option: did you mean stream?"];
    match texts.iter().any(|text| log.contains(text)) {
        true => Ok(()),
        false => Err(log.into()),
    }
}

fn one_ledger_file(binary: &Binary) -> Result<(), Failed> {
    let second =
        "\n[OUTPUT]\n    Name kinesis\n    Match *\n    stream others\n    region eu-west-1\n    ledger_path ledger";
    let output = ["stream logs", "region eu-west-1", &format!("ledger_path ledger{second}")];
    let log = refused_if(binary, &output, |status| failed(status) || aborted_at_the_end(binary, status))?;
    let expected =
        "[error] [output:kinesis:kinesis.1] ledger_path: ledger is in use by another output: each output needs its own";
    match log.contains(expected) {
        true => Ok(()),
        false => Err(log.into()),
    }
}

fn check(binary: &Binary) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    let check = ["Workers 1", "check fail", "check_custom_endpoint on"];
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &[&["stream missing"], &check[..]].concat()))?;
    let ended = home.run(&["-e", &home.plugin().to_string_lossy(), "-c", "main.conf"])?;
    let refused = "[error] [output:kinesis:kinesis.0] check: cannot put records into stream missing in eu-west-1 at ";
    if ended.status.code().is_none_or(|code| code == 0) || !home.log().contains(refused) {
        return Err(format!("it should not start: {ended:?}\n{}", home.log()).into());
    }
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &[&["stream logs"], &check[..]].concat()))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("it has checked", || home.log().contains("check: records can be put into stream logs"))?;
    fluent_bit.stop()?;
    match (kinesis.stats().dry_runs, kinesis.stats().records) {
        (1, 0) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// The log after a start that fails because of these lines of the output.
fn refused(binary: &Binary, output: &[&str]) -> Result<String, Failed> {
    refused_if(binary, output, failed)
}

/// A signal would mean a crash.
fn failed(status: ExitStatus) -> bool {
    status.code().is_some_and(|code| code != 0)
}

/// The log of a start that ended in one of the right ways.
fn refused_if(binary: &Binary, output: &[&str], is_refusal: impl Fn(ExitStatus) -> bool) -> Result<String, Failed> {
    let home = Home::new(binary)?;
    let text = section("SERVICE", &[&["Log_File fluent-bit.log"]])
        + &section("INPUT", &[&["Name dummy"]])
        + &section("OUTPUT", &[&["Name kinesis", "Match *"], output]);
    home.write("main.conf", &text)?;
    let ended = home.run(&["-e", &home.plugin().to_string_lossy(), "-c", "main.conf"])?;
    match is_refusal(ended.status) {
        true => Ok(home.log()),
        false => Err(format!("it should exit with a failure: {ended:?}\n{}", home.log()).into()),
    }
}

fn help(binary: &Binary) -> Result<(), Failed> {
    let home = Home::new(binary)?;
    let ended = home.run(&["-e", &home.plugin().to_string_lossy(), "-o", "kinesis", "-h"])?;
    // The host breaks lines between words.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The first entry follows an escape sequence that ends bold type.
    let output = ended.output.replace("\x1b[0m", "");
    let help = words(&output);
    for option in kinesis::config::options::OPTIONS {
        for name in [option.name].iter().chain(option.aliases) {
            let entry = output.lines().any(|line| line.split_whitespace().next() == Some(name));
            if !entry || !help.contains(&words(&option.help(name))) {
                return Err(format!("{name} is not explained:\n{output}").into());
            }
        }
    }
    match ended.status.success() {
        true => Ok(()),
        false => Err(format!("{}", ended.status).into()),
    }
}
