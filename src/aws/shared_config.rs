//! What AWS's environment variables and configuration files say about endpoints.
//!
//! AWS's library parses them; the files are read here, because the library might wait for them forever.

use std::path::{Component, Path, PathBuf};

use aws_config::BehaviorVersion;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::service_config::ServiceConfigKey;

use crate::aws::blocking::Blocking;
use crate::aws::files::{self, Unread};
use crate::aws::region::Region;
use crate::environment::variable;

/// The text of AWS's two shared files, `config` and `credentials`.
#[derive(Clone, Default)]
pub(crate) struct SharedFiles {
    config: String,
    credentials: String,
    /// More of `config`.
    added: String,
}

impl SharedFiles {
    /// Reads both, from the paths in `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE` or from the home directory.
    /// As in AWS's libraries, one that does not exist or may not be read counts as empty.
    ///
    /// # Errors
    /// Why one of them cannot be used, with its name.
    pub(crate) async fn read(blocking: &Blocking) -> Result<SharedFiles, Unread> {
        let of = async |name: &str, usual: &str| {
            let path = variable(name).unwrap_or_else(|| usual.to_owned());
            match files::read_text(blocking, at_home(Path::new(&path))).await {
                Err(Unread::Absent(..)) => Ok(String::new()),
                read => read,
            }
        };
        let config = of("AWS_CONFIG_FILE", "~/.aws/config").await?;
        let credentials = of("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials").await?;
        Ok(SharedFiles { config, credentials, added: String::new() })
    }

    #[cfg(test)]
    pub(crate) fn of(config: &str, credentials: &str) -> SharedFiles {
        SharedFiles { config: config.to_owned(), credentials: credentials.to_owned(), added: String::new() }
    }

    /// With more lines of `config`, which take precedence.
    pub(crate) fn with(self, lines: &str) -> SharedFiles {
        SharedFiles { added: self.added + lines, ..self }
    }

    /// In the form that AWS's library takes them.
    pub(crate) fn contents(&self) -> EnvConfigFiles {
        EnvConfigFiles::builder()
            .with_contents(EnvConfigFileKind::Config, self.config.as_str())
            .with_contents(EnvConfigFileKind::Credentials, self.credentials.as_str())
            .with_contents(EnvConfigFileKind::Config, self.added.as_str())
            .build()
    }
}

/// A path with the home directory in place of `~`.
fn at_home(path: &Path) -> PathBuf {
    let mut parts = path.components();
    match (parts.next(), variable("HOME")) {
        (Some(Component::Normal(first)), Some(home)) if first == "~" => PathBuf::from(home).join(parts.as_path()),
        _ => path.to_owned(),
    }
}

/// Settings that apply unless the output's options differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SharedConfig {
    /// `AWS_ENDPOINT_URL_KINESIS`, `AWS_ENDPOINT_URL`, or the profile's `endpoint_url`;
    /// `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` hides them.
    pub(crate) endpoint_url: Option<String>,
    /// `AWS_USE_FIPS_ENDPOINT`, or the profile's `use_fips_endpoint`.
    pub(crate) use_fips_endpoint: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`, or the profile's `use_dualstack_endpoint`.
    pub(crate) use_dualstack_endpoint: bool,
}

impl SharedConfig {
    /// The settings of the variables and `files`; `profile` is the one that the output names. Connects to nothing.
    pub(crate) async fn load(files: &SharedFiles, profile: Option<&str>, region: &Region) -> SharedConfig {
        let region = aws_types::region::Region::new(region.as_str().to_owned());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(region)
            .profile_files(files.contents())
            .no_credentials();
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        let of_kinesis =
            ServiceConfigKey::builder().service_id("Kinesis").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        SharedConfig {
            endpoint_url: config.service_config().zip(of_kinesis.ok()).and_then(|(all, key)| all.load_config(key)),
            use_fips_endpoint: config.use_fips().unwrap_or_default(),
            use_dualstack_endpoint: config.use_dual_stack().unwrap_or_default(),
        }
    }
}
