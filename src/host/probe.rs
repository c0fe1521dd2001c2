//! Reads memory that may not be mapped.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// A structure of plain numbers and pointers, for which every pattern of bits is a value.
///
/// # Safety
/// As said.
pub(super) unsafe trait Plain {}

// SAFETY: numbers and pointers.
unsafe impl Plain for super::bindings::flb_output_flush {}
// SAFETY: numbers.
unsafe impl Plain for super::bindings::flb_config {}

/// A copy of what is at `address`; `None` when no memory is there. The kernel copies it into a pipe: a wrong address is an
/// error for the kernel, where reading it here would end the process.
pub(super) fn read<T: Plain>(address: NonNull<c_void>) -> Option<T> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } == -1 {
        return None;
    }
    // SAFETY: just made, and owned by nobody.
    let [from, to] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    let mut copy = MaybeUninit::<T>::uninit();
    // SAFETY: the kernel checks the address itself.
    let written = unsafe { libc::write(to.as_raw_fd(), address.as_ptr(), size_of::<T>()) };
    // SAFETY: as many bytes as the copy has.
    let taken = unsafe { libc::read(from.as_raw_fd(), copy.as_mut_ptr().cast(), size_of::<T>()) };
    let whole = Some(written) == isize::try_from(size_of::<T>()).ok() && taken == written;
    // SAFETY: filled, and every pattern of bits is a value.
    whole.then(|| unsafe { copy.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: a number.
    unsafe impl Plain for u64 {}

    #[test]
    fn what_is_there_is_copied_and_what_is_not_there_is_no_crash() {
        let value = 7_u64;
        assert_eq!(read::<u64>(NonNull::from(&value).cast()), Some(7));
        assert_eq!(read::<u64>(NonNull::without_provenance(64.try_into().unwrap())), None);
    }
}
