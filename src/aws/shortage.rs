//! Explains which limit of the machine has been reached.

use std::error::Error;
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

/// As [`of`], for the first cause of `error` that is a shortage.
pub(crate) fn among(error: &(dyn Error + 'static)) -> Option<String> {
    let mut error = Some(error);
    while let Some(current) = error {
        let of_system = current.downcast_ref::<io::Error>();
        if let Some(shortage) = of_system.and_then(of) {
            return Some(shortage);
        }
        let carried = of_system.and_then(io::Error::get_ref);
        error = carried.map(|carried| carried as &(dyn Error + 'static)).or_else(|| current.source());
    }
    None
}

/// The explanation of a shortage, or else the error's own text.
pub(crate) fn explained(error: &io::Error) -> String {
    of(error).unwrap_or_else(|| error.to_string())
}
