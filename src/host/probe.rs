//! Reads memory that may not be mapped.

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use rustix::pipe::{PipeFlags, pipe_with};

/// A structure of plain numbers and pointers.
///
/// # Safety
/// Every pattern of bits is a value of it.
pub(super) unsafe trait Plain {}

// SAFETY: numbers and pointers.
unsafe impl Plain for super::bindings::flb_output_flush {}
// SAFETY: numbers.
unsafe impl Plain for super::bindings::flb_config {}

/// A copy of what is at `address`; `None` if no memory is there. The kernel copies it into a pipe: for the kernel a
/// wrong address is an error, whereas reading it here would end the process.
pub(super) fn read<T: Plain>(address: NonNull<c_void>) -> Option<T> {
    let (from, to) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    // SAFETY: the kernel checks the address itself. (rustix would take a slice, which must not be made of it.)
    let written = unsafe { libc::write(to.as_raw_fd(), address.as_ptr(), size_of::<T>()) };
    let mut copy = vec![0_u8; size_of::<T>()];
    let taken = rustix::io::read(&from, &mut copy).ok()?;
    let is_whole = taken == size_of::<T>() && Some(written) == isize::try_from(taken).ok();
    // SAFETY: as many bytes as it has, of which every pattern is a value.
    is_whole.then(|| unsafe { copy.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: a number.
    unsafe impl Plain for u64 {}

    #[test]
    fn mapped_memory_is_copied_and_unmapped_memory_is_no_crash() {
        let value = 7_u64;
        assert_eq!(read::<u64>(NonNull::from(&value).cast()), Some(7));
        assert_eq!(read::<u64>(NonNull::without_provenance(64.try_into().unwrap())), None);
    }
}
