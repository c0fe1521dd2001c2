//! Options that are set but that the plugin does not have.
//!
//! Before 5.1.1 Fluent Bit passes over them without a word, and it never says which options there are, only what a
//! name's value is. So names are asked for: those of the plugins that this one replaces, and every name that is one
//! slip of the keyboard away from one of ours.

use super::options::OPTIONS;
use crate::error::Mistake;

/// Options of Fluentd's plugin and of others, with what to do instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("add_newline", "use append_newline or chomp_record"),
    ("fixed_partition_key", "leave it out: records without a key are spread over all shards"),
    ("drop_failed_records_after_batch_request_retries", "leave it out: failed records are never dropped"),
    ("monitor_num_of_batch_request_retries", "leave it out"),
    ("log_truncate_max_size", "leave it out: records never appear in the log"),
    ("ssl_verify_peer", "leave it out: verification cannot be turned off"),
    ("debug", "use log_level debug"),
    ("include_time_key", "use time_key alone"),
    ("formatter", "use format"),
    ("buffer", "use storage.type, storage.total_limit_size and retry_limit"),
    ("buffer_type", "use storage.type"),
    ("num_threads", "use workers"),
    ("flush_thread_count", "use workers"),
    ("assume_role_credentials", "use role_arn and the options beside it"),
    ("shared_credentials", "use profile"),
    ("instance_profile_credentials", "leave it out: the instance's role is found"),
    ("web_identity_credentials", "leave it out: AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are heard"),
];

/// The mistakes of everything set through `property` that is known not to be an option.
pub(super) fn mistakes(property: &dyn Fn(&str) -> Option<String>) -> Vec<Mistake> {
    let elsewhere = ELSEWHERE
        .iter()
        .filter(|(name, _)| property(name).is_some())
        .map(|(name, instead)| mistake((*name).to_owned(), format!("there is no such option here: {instead}")));
    let mut mistakes: Vec<Mistake> = elsewhere.collect();
    for name in names() {
        for_each_slip(name, |slip| {
            if property(slip).is_some() && !is_known(slip) {
                mistakes.push(mistake(slip.to_owned(), format!("there is no such option: did you mean {name}?")));
            }
        });
    }
    mistakes.sort_by(|a, b| a.option.cmp(&b.option));
    mistakes.dedup_by(|a, b| a.option == b.option);
    mistakes
}

fn mistake(option: String, text: String) -> Mistake {
    Mistake { option: option.into(), text }
}

fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().flat_map(|option| std::iter::once(option.name).chain(option.aliases.iter().copied()))
}

fn is_known(name: &str) -> bool {
    names().any(|known| known == name) || ELSEWHERE.iter().any(|(known, _)| *known == name)
}

/// Tells every name that becomes `name` when one character is put in, taken out, exchanged, or changes places with its
/// neighbour; and the name with other words' borders. There are tens of thousands, so all are written into one text.
fn for_each_slip(name: &str, mut tell: impl FnMut(&str)) {
    const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyz_-";
    let mut slip = String::new();
    let mut tell = |parts: [&str; 4]| {
        slip.clear();
        slip.extend(parts);
        tell(&slip);
    };
    tell([&name.replace('_', "-"), "", "", ""]);
    tell([&name.replace('_', ""), "", "", ""]);
    // Names are ASCII, so each byte is a character.
    for (head, tail) in (0..=name.len()).map(|position| name.split_at(position)) {
        let others = CHARACTERS.split_inclusive(|_| true);
        others.clone().for_each(|inserted| tell([head, inserted, tail, ""]));
        let Some((first, behind)) = tail.split_at_checked(1) else { continue };
        tell([head, behind, "", ""]);
        others.for_each(|other| tell([head, other, behind, ""]));
        if let Some((second, behind)) = behind.split_at_checked(1) {
            tell([head, second, first, behind]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(options: &[&str]) -> Vec<String> {
        mistakes(&|name| options.contains(&name).then(|| "x".to_owned())).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_that_was_nearly_right_is_told_the_right_one() {
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
            assert_eq!(found(&[wrong]), [format!("{wrong}: there is no such option: did you mean {right}?")]);
        }
    }

    #[test]
    fn options_of_the_other_plugins_say_what_to_do_instead() {
        assert_eq!(
            found(&["add_newline"]),
            ["add_newline: there is no such option here: use append_newline or chomp_record"]
        );
    }

    #[test]
    fn looking_for_slips_does_not_hold_up_the_start() {
        let asked = std::cell::Cell::new(0);
        mistakes(&|_| {
            asked.set(asked.get() + 1);
            None
        });
        assert!(asked.get() < 100_000, "the host is asked for {} names", asked.get());
    }

    #[test]
    fn what_is_an_option_is_never_taken_for_a_slip_of_another() {
        let names: Vec<&str> = names().collect();
        assert_eq!(found(&names), Vec::<String>::new());
        assert!(ELSEWHERE.iter().all(|(name, _)| !names.contains(name)));
    }
}
