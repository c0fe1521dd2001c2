//! Options that are set but that the plugin does not have.
//!
//! Before 5.1.1 Fluent Bit silently ignores unknown options, and it never lists those that are set; it only returns
//! the value of a given name. So this asks for the options of the plugins that this one replaces, and for every name
//! one typo away from ours.

use super::options::{OPTIONS, OptionSpec};
use crate::error::ConfigIssue;

/// Options of Fluentd's plugin and of others, with what to do instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("add_newline", "use append_newline or chomp_record"),
    ("fixed_partition_key", "remove it: records without a key are spread over all shards"),
    ("drop_failed_records_after_batch_request_retries", "remove it: failed records are never dropped"),
    ("monitor_num_of_batch_request_retries", "remove it"),
    ("log_truncate_max_size", "remove it: records never appear in the log"),
    ("ssl_verify_peer", "remove it: verification cannot be turned off"),
    ("debug", "use log_level debug"),
    ("include_time_key", "use time_key alone"),
    ("formatter", "use format"),
    ("buffer", "use storage.type, storage.total_limit_size and retry_limit"),
    ("buffer_type", "use storage.type"),
    ("num_threads", "remove it: one thread serves any number of flushes"),
    ("flush_thread_count", "remove it: one thread serves any number of flushes"),
    ("assume_role_credentials", "use role_arn and its companion options"),
    ("shared_credentials", "use profile"),
    ("instance_profile_credentials", "remove it: the instance's role is used automatically"),
    ("web_identity_credentials", "remove it: AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are used automatically"),
];

/// Returns an issue for everything set through `property` that is known not to be an option.
pub(super) fn issues(property: &dyn Fn(&str) -> Option<String>) -> Vec<ConfigIssue> {
    let elsewhere = ELSEWHERE
        .iter()
        .filter(|(name, _)| property(name).is_some())
        .map(|(name, instead)| ConfigIssue::new(*name, format!("not an option of this plugin: {instead}")));
    let mut issues: Vec<ConfigIssue> = elsewhere.collect();
    for name in names() {
        for_each_typo(name, |typo| {
            if property(typo).is_some() && !is_known(typo) {
                issues.push(ConfigIssue::new(typo.to_owned(), format!("no such option: did you mean {name}?")));
            }
        });
    }
    issues.sort_by(|a, b| a.option.cmp(&b.option));
    issues.dedup_by(|a, b| a.option == b.option);
    issues
}

fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().flat_map(OptionSpec::names)
}

fn is_known(name: &str) -> bool {
    names().any(|known| known == name) || ELSEWHERE.iter().any(|(known, _)| *known == name)
}

/// Calls `visit` with every name one edit away from `name` (a character inserted, removed, replaced or swapped with
/// its neighbour), and with its `-` and unseparated spellings. All options together have 53,000 of them, built in one
/// buffer; asking for them takes 3 to 7 ms in a host with ten properties set (measured 2026-11).
fn for_each_typo(name: &str, mut visit: impl FnMut(&str)) {
    const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyz_-";
    let mut typo = String::new();
    let mut visit = |parts: [&str; 4]| {
        typo.clear();
        typo.extend(parts);
        visit(&typo);
    };
    visit([&name.replace('_', "-"), "", "", ""]);
    visit([&name.replace('_', ""), "", "", ""]);
    // Names are ASCII, so each byte is a character.
    for (head, tail) in (0..=name.len()).map(|position| name.split_at(position)) {
        let others = CHARACTERS.split_inclusive(|_| true);
        others.clone().for_each(|inserted| visit([head, inserted, tail, ""]));
        let Some((first, rest)) = tail.split_at_checked(1) else { continue };
        visit([head, rest, "", ""]);
        others.for_each(|other| visit([head, other, rest, ""]));
        if let Some((second, rest)) = rest.split_at_checked(1) {
            visit([head, second, first, rest]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(options: &[&str]) -> Vec<String> {
        issues(&|name| options.contains(&name).then(|| "x".to_owned())).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_right_one() {
        for (wrong, right) in [
            ("partition_kye", "partition_key"),
            ("partition-key", "partition_key"),
            ("partitionkey", "partition_key"),
            ("time-key-format", "time_key_format"),
            ("log_keys", "log_key"),
            ("steam", "stream"),
            ("regoin", "region"),
            ("endpont", "endpoint"),
            ("concurency", "concurrency"),
        ] {
            assert_eq!(found(&[wrong]), [format!("{wrong}: no such option: did you mean {right}?")]);
        }
    }

    #[test]
    fn options_of_the_other_plugins_say_what_to_do_instead() {
        assert_eq!(
            found(&["add_newline"]),
            ["add_newline: not an option of this plugin: use append_newline or chomp_record"]
        );
    }

    #[test]
    fn looking_for_typos_does_not_delay_the_start() {
        let asked = std::cell::Cell::new(0);
        issues(&|_| {
            asked.set(asked.get() + 1);
            None
        });
        assert!(asked.get() < 100_000, "the host is asked for {} names", asked.get());
    }

    #[test]
    fn what_is_an_option_is_never_taken_for_a_typo_of_another() {
        let names: Vec<&str> = names().collect();
        assert_eq!(found(&names), Vec::<String>::new());
        assert!(ELSEWHERE.iter().all(|(name, _)| !names.contains(name)));
    }
}
