//! The same code, compiled for each width of vectors; which one runs is decided by the machine.

/// Something to do whose loops are worth wide vectors.
pub(super) trait Task {
    /// What it gives.
    type Output;
    /// Does it. Implementations are `#[inline(always)]`, so that they are compiled for each width.
    fn run(self) -> Self::Output;
}

/// Runs a task, compiled for the widest vectors of this machine.
#[inline]
pub(super) fn widest<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if wide {
            // SAFETY: the machine has these instructions.
            return unsafe { avx512(task) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { avx2(task) };
        }
    }
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2,popcnt")]
fn avx512<T: Task>(task: T) -> T::Output {
    task.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T: Task>(task: T) -> T::Output {
    task.run()
}
