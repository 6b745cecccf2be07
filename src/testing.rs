//! Testing of optimization passes: the rules of the rewriter, and certificates for them.
//!
//! ```
//! use fornax::testing::{Effort, certify, rules};
//!
//! let rule = rules().find(|r| r.name == "permute-permute").unwrap();
//! let certificate = certify(rule, Effort { graphs: 20, ..Effort::default() });
//! assert!(certificate.holds(), "{certificate}");
//! ```

pub use fornax_compiler::rewrite::certify::{
    Certificate, Counterexample, Effort, Tier, Trial, certify, certify_all,
};
pub use fornax_compiler::rewrite::rules::{Float as FloatClass, Rule, all as rules};
