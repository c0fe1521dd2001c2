//! The option table: the one source of every option's name, default and meaning.
//!
//! It feeds the parser ([`super::Config::parse`]), the host's config map (so that `fluent-bit -o kinesis -h` prints
//! help and unknown keys are refused where the host can) and the table in README.md, which a test compares.

/// One option as the user sees it.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its name; matched in any case.
    pub name: &'static str,
    /// Other names it goes by, from the plugins this one replaces.
    pub aliases: &'static [&'static str],
    /// What stands in the documentation's "default" column; `None` where unset has a meaning of its own.
    pub default: Option<&'static str>,
    /// One sentence for the help and the README.
    pub doc: &'static str,
}

/// All options, in the order of the documentation.
pub static OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "stream",
        aliases: &["stream_name"],
        default: None,
        doc: "Name of the Kinesis stream, or its ARN (its region is then the default region). Required.",
    },
];
