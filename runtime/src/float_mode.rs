//! The floating-point control register: rounding, flush-to-zero, exception masks.

/// The control bits of the calling thread's floating-point unit (status flags left out).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FloatMode(u64);

/// MXCSR's six exception status flags (Intel SDM volume 1, section 10.2.3): not part of the mode.
#[cfg(target_arch = "x86_64")]
const MXCSR_STATUS: u32 = 0x3f;

#[cfg(target_arch = "x86_64")]
impl FloatMode {
    /// Reads the mode of this thread.
    pub(crate) fn current() -> Self {
        let mut mxcsr = 0u32;
        // SAFETY: stores the 32-bit MXCSR to a local of that size.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags));
        }
        Self(u64::from(mxcsr & !MXCSR_STATUS))
    }

    /// Makes this the mode of the calling thread.
    pub(crate) fn apply(self) {
        let mxcsr = self.0 as u32;
        // SAFETY: the value was read by `current`, so no reserved bit is set (that would fault).
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, preserves_flags));
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl FloatMode {
    /// Reads the mode of this thread (FPCR; the status flags live in FPSR).
    pub(crate) fn current() -> Self {
        let fpcr: u64;
        // SAFETY: reads a register that is readable in user mode.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack)) };
        Self(fpcr)
    }

    /// Makes this the mode of the calling thread.
    pub(crate) fn apply(self) {
        // SAFETY: the value was read by `current` on the same machine.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) self.0, options(nomem, nostack)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl FloatMode {
    /// Targets without an accessor here run workers in the default mode of a new thread.
    pub(crate) fn current() -> Self {
        Self(0)
    }

    /// Does nothing.
    pub(crate) fn apply(self) {}
}
