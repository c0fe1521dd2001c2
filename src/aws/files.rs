//! Reads files named by the configuration: on a thread that may hang, up to a size limit, and only regular files.
//!
//! A pipe without a writer, an endless device and a stuck mount each yield an error that names the file.

use std::error::Error;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::aws::blocking::{Blocking, Unanswered};
use crate::aws::shortage::explained;

/// Largest file of a token, a login or profiles, in bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// Longest wait for a file. At the start, this leaves time to fetch credentials.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// There is no such file, or it may not be read. Folders count as absent: container engines create one for a
    /// missing file.
    Absent(String, io::Error),
    /// It is not a file of limited size, or its file system does not respond.
    Unusable(String),
}

/// The reason, with the file's name.
impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Absent(name, error) => write!(f, "{name}: {error}"),
            Unread::Unusable(reason) => f.write_str(reason),
        }
    }
}

impl Error for Unread {}

/// The content of a file, read on a thread of `blocking`.
///
/// # Errors
/// When it is absent, larger than [`MAX_BYTES`], no regular file, or on a file system that does not respond.
pub(crate) async fn read(blocking: &Blocking, path: impl Into<PathBuf>) -> Result<Vec<u8>, Unread> {
    let path = path.into();
    let name = path.display().to_string();
    let unanswered = |reason: Unanswered| Unread::Unusable(format!("{name} cannot be read: {reason}"));
    blocking.run(TIMEOUT, move || read_now(&path, MAX_BYTES)).await.map_err(unanswered)?
}

/// As [`read`], for text.
///
/// # Errors
/// As of [`read`], and when it is not UTF-8.
pub(crate) async fn read_text(blocking: &Blocking, path: impl Into<PathBuf>) -> Result<String, Unread> {
    let path = path.into();
    let name = path.display().to_string();
    String::from_utf8(read(blocking, path).await?).map_err(|_| Unread::Unusable(format!("{name} is not UTF-8")))
}

/// Reads a file of at most `most` bytes on the calling thread, which a file system that does not respond blocks.
///
/// # Errors
/// As of [`read`].
pub(crate) fn read_now(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    let name = path.display();
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ELOOP | libc::EACCES | libc::EPERM) => {
            Unread::Absent(name.to_string(), error)
        }
        _ => Unread::Unusable(format!("{name} cannot be read: {}", explained(&error))),
    };
    // Otherwise opening a pipe would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let what = file.metadata().map_err(failed)?.file_type();
    if what.is_dir() {
        return Err(Unread::Absent(name.to_string(), io::Error::other("it is a folder")));
    }
    if let Some(kind) = other_than_a_file(what) {
        return Err(Unread::Unusable(format!("{name} is {kind}, not a file")));
    }
    let mut bytes = Vec::new();
    bounded(file, most).read_to_end(&mut bytes).map_err(failed)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= most => Ok(bytes),
        _ => Err(Unread::Unusable(format!("{name} is larger than {} KiB", most >> 10))),
    }
}

fn bounded(file: File, most: u64) -> io::Take<File> {
    file.take(most + 1)
}

/// Character devices may be read: `/dev/null` is a common name for an empty file.
fn other_than_a_file(what: fs::FileType) -> Option<&'static str> {
    [(what.is_fifo(), "a pipe"), (what.is_socket(), "a socket"), (what.is_block_device(), "a disk")]
        .into_iter()
        .find_map(|(is_it, kind)| is_it.then_some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_read_and_only_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "12345678").unwrap();
        assert_eq!(read_now(&path, 8).unwrap(), b"12345678");
        let refused = |path: &Path, most| read_now(path, most).unwrap_err().to_string();
        assert!(refused(&path, 7).ends_with("token is larger than 0 KiB"));
        assert!(matches!(read_now(folder.path(), 8), Err(Unread::Absent(..))));
        assert!(matches!(read_now(Path::new("/dev/null/.aws/config"), 8), Err(Unread::Absent(..))));
        assert!(refused(Path::new("/dev/zero"), 4096).ends_with("/dev/zero is larger than 4 KiB"));
        assert!(matches!(read_now(&folder.path().join("none"), 8), Err(Unread::Absent(..))));
        assert_eq!(read_now(Path::new("/dev/null"), 8).unwrap(), b"");
    }
}
