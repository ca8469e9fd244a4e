//! Memory that several processes share.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::slice;
use std::sync::atomic::AtomicU64;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};

/// Maps `count` words, which start as zeros (or as what the file holds) and stay mapped until the process ends.
///
/// A process that is forked shares them (MAP_SHARED, see mmap(2)). With a file, every process that maps that file does; the
/// file must be long enough, and stay so.
///
/// # Errors
/// What mmap(2) reports; or `count` is 0.
pub(crate) fn words(count: usize, file: Option<&File>) -> io::Result<&'static [AtomicU64]> {
    let size = NonZeroUsize::new(count * size_of::<AtomicU64>()).ok_or(ErrorKind::InvalidInput)?;
    let (access, shared) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    #[allow(unsafe_code)]
    let mapped = unsafe {
        match file {
            Some(file) => mmap(None, size, access, shared, file, 0),
            None => mmap_anonymous(None, size, access, shared),
        }
    }?;
    // SAFETY: the mapping is page-aligned, `size` bytes long, never unmapped, and used as these atomics alone.
    #[allow(unsafe_code)]
    Ok(unsafe { slice::from_raw_parts(mapped.cast::<AtomicU64>().as_ptr(), count) })
}
