//! Memory between inaccessible pages.

/// Bytes that end right before an inaccessible page, or begin right after one (then they are aligned to a page).
pub struct Guarded {
    base: *mut u8,
    mapped: usize,
    start: usize,
    len: usize,
}

const PAGE: usize = 4096;

impl Guarded {
    pub fn new(bytes: &[u8], align: usize, at_end: bool) -> Guarded {
        let inner = bytes.len().div_ceil(PAGE) * PAGE + PAGE;
        let mapped = inner + 2 * PAGE;
        // SAFETY: a fresh anonymous mapping; the result is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED);
        let base = base.cast::<u8>();
        let start = if at_end { PAGE + (inner - bytes.len()) / align * align } else { PAGE };
        // SAFETY: the pages between the first and the last of the mapping; the bytes lie within them.
        unsafe {
            let rc = libc::mprotect(base.add(PAGE).cast(), inner, libc::PROT_READ | libc::PROT_WRITE);
            assert_eq!(rc, 0);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(start), bytes.len());
        }
        Guarded { base, mapped, start, len: bytes.len() }
    }
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        // SAFETY: inside the mapping.
        unsafe { self.base.add(self.start) }
    }
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: initialised by `new`, readable as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.base.add(self.start), self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, not used any more.
        unsafe { libc::munmap(self.base.cast(), self.mapped) };
    }
}
