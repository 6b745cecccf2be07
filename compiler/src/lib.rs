//! From graph to program: canonicalize, rewrite, schedule, buffer assignment.
