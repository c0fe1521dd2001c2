//! Where a profile gets its credentials: which files AWS's library will read for it, and which program to run.
//!
//! The rules are those of `aws_config::profile::credentials`, which applies them too, but reads files without a limit
//! and cannot kill a program.

use std::path::PathBuf;

use aws_config::profile::{self, Profile, ProfileSet};
use aws_credential_types::Credentials;
use aws_types::os_shim_internal::{Env, Fs};

use crate::aws::endpoint::Endpoint;
use crate::aws::shared_config::SharedFiles;
use crate::environment::variable;

/// The source of the credentials at the end of a chain of profiles, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// From a file of a token or a login.
    File(PathBuf),
    /// From a program.
    Process {
        command: String,
        account: Option<String>,
        /// The profile with a role that takes its credentials from there.
        taken_by: Option<String>,
    },
    /// From elsewhere, or none, which AWS's library will explain.
    Other,
}

/// Follows a profile to its base. `name` is the profile that an option names, if any.
pub(super) async fn base(files: &SharedFiles, name: Option<&str>) -> Base {
    let name = name.map(|name| name.to_owned().into());
    match profile::load(&Fs::default(), &Env::default(), &files.contents(), name).await {
        Ok(profiles) => find_base(&profiles),
        Err(_) => Base::Other,
    }
}

fn find_base(profiles: &ProfileSet) -> Base {
    let mut name = profiles.selected_profile();
    let mut visited = Vec::new();
    let mut taken_by = None;
    loop {
        let Some(profile) = profiles.get_profile(name).filter(|_| !visited.contains(&name)) else { return Base::Other };
        visited.push(name);
        let has = |key: &str| profile.get(key).is_some();
        if visited.len() > 1 && has("aws_access_key_id") && has("aws_secret_access_key") {
            return Base::Other;
        }
        if has("web_identity_token_file") || !has("role_arn") {
            return of_profile(profiles, profile, taken_by);
        }
        match profile.get("source_profile") {
            Some(source) if !has("credential_source") => {
                taken_by = Some(name.to_owned());
                if source == name {
                    return of_profile(profiles, profile, taken_by);
                }
                name = source;
            }
            _ if profile.get("credential_source").is_some_and(is_container) => return of_container(),
            _ => return Base::Other,
        }
    }
}

/// The base of a profile that refers to no other, in the order in which AWS's library looks.
fn of_profile(profiles: &ProfileSet, profile: &Profile, taken_by: Option<String>) -> Base {
    if let Some(source) = profile.get("credential_source") {
        return if is_container(source) { of_container() } else { Base::Other };
    }
    if let Some(file) = profile.get("web_identity_token_file") {
        return Base::File(file.into());
    }
    let session = profile.get("sso_session");
    let is_sso = |key: &str| profile.get(key).is_some();
    if session.is_some() || ["sso_account_id", "sso_region", "sso_role_name", "sso_start_url"].into_iter().any(is_sso) {
        let start = profile.get("sso_start_url").or_else(|| profiles.sso_session(session?)?.get("sso_start_url"));
        return session.or(start).and_then(login_file).map_or(Base::Other, Base::File);
    }
    if profile.get("login_session").is_some() {
        return Base::Other;
    }
    let account = profile.get("aws_account_id").map(str::to_owned);
    match profile.get("credential_process") {
        Some(command) => Base::Process { command: command.to_owned(), account, taken_by },
        None => Base::Other,
    }
}

fn is_container(source: &str) -> bool {
    source.eq_ignore_ascii_case("EcsContainer")
}

fn of_container() -> Base {
    container_token_file().map_or(Base::Other, Base::File)
}

/// The file of the token for a container's agent.
pub(super) fn container_token_file() -> Option<PathBuf> {
    variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from)
}

/// The file that `aws sso login` writes for a session or a start URL.
fn login_file(identifier: &str) -> Option<PathBuf> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, identifier.as_bytes());
    let name: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(PathBuf::from(variable("HOME")?).join(".aws/sso/cache").join(format!("{name}.json")))
}

/// Lines that make a profile's own roles be assumed at this endpoint of STS; `None` if there is no such profile. What
/// else its section of services says, stays.
pub(super) async fn lines_with_sts_endpoint(
    files: &SharedFiles,
    name: Option<&str>,
    endpoint: &Endpoint,
) -> Option<String> {
    let name = name.map(|name| name.to_owned().into());
    let profiles = profile::load(&Fs::default(), &Env::default(), &files.contents(), name).await.ok()?;
    let profile = profiles.selected_profile();
    let services = profiles.get_profile(profile)?.get("services").unwrap_or("kinesis-sts");
    let header = header(profile);
    Some(format!("[{header}]\nservices = {services}\n[services {services}]\nsts =\n  endpoint_url = {endpoint}\n"))
}

/// The head of a profile's section in `config`.
fn header(profile: &str) -> String {
    if profile == "default" { profile.to_owned() } else { format!("profile {profile}") }
}

/// Lines that make `profile` assume its role with these credentials. `None` if such lines cannot hold them.
pub(super) fn lines_with_credentials(credentials: &Credentials, profile: &str) -> Option<String> {
    const SOURCE: &str = "kinesis-process";
    let token = credentials.session_token();
    let values = [Some(credentials.access_key_id()), Some(credentials.secret_access_key()), token];
    let fits = |value: &str| !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic());
    if !values.into_iter().flatten().all(fits) {
        return None;
    }
    let (id, secret) = (credentials.access_key_id(), credentials.secret_access_key());
    let token = token.map_or(String::new(), |token| format!("aws_session_token = {token}\n"));
    let header = header(profile);
    Some(format!(
        "[{header}]\nsource_profile = {SOURCE}\n\
         [profile {SOURCE}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n{token}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn base_of(profile: &str, config: &str) -> Base {
        base(&SharedFiles::of(config, ""), Some(profile)).await
    }

    fn process(taken_by: Option<&str>) -> Base {
        Base::Process { command: "vault read".to_owned(), account: None, taken_by: taken_by.map(str::to_owned) }
    }

    #[tokio::test]
    async fn a_program_is_found_wherever_the_profile_takes_it_from() {
        assert_eq!(base_of("a", "[profile a]\ncredential_process = vault read\n").await, process(None));
        let chain = "[profile a]\nrole_arn = r\nsource_profile = b\n\
                     [profile b]\nrole_arn = r\nsource_profile = c\n[profile c]\ncredential_process = vault read\n";
        assert_eq!(base_of("a", chain).await, process(Some("b")));
        let itself = "[profile a]\nrole_arn = r\nsource_profile = a\ncredential_process = vault read\n";
        assert_eq!(base_of("a", itself).await, process(Some("a")));
    }

    #[tokio::test]
    async fn what_comes_before_a_program_is_not_passed_over() {
        let keys = "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\naws_access_key_id = k\n\
                    aws_secret_access_key = s\ncredential_process = vault read\n";
        assert_eq!(base_of("a", keys).await, Base::Other);
        let token = "[profile a]\nrole_arn = r\nweb_identity_token_file = /token\ncredential_process = vault read\n";
        assert_eq!(base_of("a", token).await, Base::File("/token".into()));
        let source = "[profile a]\ncredential_source = Environment\ncredential_process = vault read\n";
        assert_eq!(base_of("a", source).await, Base::Other);
    }

    #[tokio::test]
    async fn profiles_in_a_circle_and_without_end_are_left_to_awss_library() {
        let circle = "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n";
        assert_eq!(base_of("a", circle).await, Base::Other);
        assert_eq!(base_of("a", "[profile a]\nrole_arn = r\nsource_profile = b\n").await, Base::Other);
        assert_eq!(base_of("a", "no profile at all").await, Base::Other);
    }

    #[test]
    fn credentials_that_would_break_a_line_are_refused() {
        let credentials = |secret: &str| Credentials::new("AKIAEXAMPLE", secret, None, None, "test");
        assert!(lines_with_credentials(&credentials("a+b/c="), "p").is_some());
        for secret in ["", "a b", "a\n[default]", "a\u{e9}"] {
            assert_eq!(lines_with_credentials(&credentials(secret), "p"), None);
        }
    }
}
