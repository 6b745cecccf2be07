//! What a compiled program needs to run: ABI, arena, thread pool.
