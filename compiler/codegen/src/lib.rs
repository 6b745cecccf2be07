//! Kernels to native code: Cranelift drivers, leaf emitters, JIT image.
