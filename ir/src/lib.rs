//! The languages of Fornax: graph, kernel and leaf IR, each with text, verifier and interpreter.
