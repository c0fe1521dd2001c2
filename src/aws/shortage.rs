//! Explains which limit of the machine has been reached.

use std::io;

use crate::system::max_open_files;

/// What has run out and which setting limits it, if that is what `error` means.
pub(crate) fn of(error: &io::Error) -> Option<String> {
    match error.raw_os_error()? {
        libc::EMFILE => {
            let limit = max_open_files().map_or("that".to_owned(), |limit| limit.to_string());
            Some(format!("too many open files: this process may have no more than {limit} (ulimit -n, LimitNOFILE)"))
        }
        libc::ENFILE => Some("too many open files on this machine (fs.file-max)".to_owned()),
        _ => None,
    }
}

/// The explanation of a shortage, or else the error's own text.
pub(crate) fn explained(error: &io::Error) -> String {
    of(error).unwrap_or_else(|| error.to_string())
}
