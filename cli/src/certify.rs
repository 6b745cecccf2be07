//! `fornax certify`.

use fornax::testing::{Certificate, Effort, Rule, certify_all, rules};

use crate::args::CertifyArgs;
use crate::failure::Failure;
use crate::output;

/// Certifies rules, prints what was found, and fails if one of them, or one of their guards, does.
pub fn certify(args: &CertifyArgs) -> Result<(), Failure> {
    let named = |name: &String| {
        rules().find(|r| r.name == name).ok_or_else(|| {
            let known: Vec<&str> = rules().map(|r| r.name).collect();
            Failure::input(format!("there is no rule '{name}'; the rules are {}", known.join(", ")))
        })
    };
    let chosen: Vec<&'static Rule> = match args.rules.is_empty() {
        true => rules().collect(),
        false => args.rules.iter().map(named).collect::<Result<_, _>>()?,
    };
    let effort = Effort { graphs: args.graphs as usize, seed: args.seed, ..Effort::default() };
    let certificates = certify_all(&chosen, effort);
    for c in &certificates {
        output::line(format_args!("{}", c.to_string().trim_end()))?;
    }
    let failed = certificates.iter().filter(|c| !c.holds()).count();
    let guards: usize = certificates.iter().map(|c: &Certificate| c.guards.len()).sum();
    output::line(format_args!("{} rules, {guards} guards: {failed} failed", certificates.len()))?;
    if failed == 0 { Ok(()) } else { Err(Failure::Comparison) }
}
