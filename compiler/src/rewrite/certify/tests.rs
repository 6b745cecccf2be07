use super::super::facts::{self, add};
use super::super::pattern::{Pattern, binary, node, unary, var};
use super::super::rules::{self, Find, Guard, Make};
use super::*;
use fornax_ir::graph::ops::{Binary, Unary};
use fornax_ir::scalar::{BinaryOp, UnaryOp};

const QUICK: Effort = Effort { graphs: 120, drawn: 200, seed: 7 };

#[test]
fn every_rule_holds_and_needs_its_guards() {
    for rule in rules::all() {
        let certificate = certify(rule, QUICK);
        assert!(certificate.holds(), "{certificate}");
    }
}

/// A rule that is wrong.
const fn wrong(name: &'static str, find: fn() -> Pattern, make: Make) -> Rule {
    Rule { name, equation: "wrong", why: "wrong", find: Find::Pattern(find), make, ..Rule::BARE }
}

#[test]
fn wrong_rules_are_refuted_by_the_tier_that_should() {
    static ANY: fn(&Op) -> bool = |op| matches!(op, Op::Permute(_));
    static WRONG: &[(Rule, &[Tier])] = &[
        (
            wrong(
                "x-y",
                || binary(BinaryOp::Sub, var(0), var(1)),
                Make::One(|s, m, loc| add(s, Binary(BinaryOp::Sub), &[m.var(1), m.var(0)], loc)),
            ),
            // Integers are compared as they are.
            &[Tier::Algebra, Tier::Rounding],
        ),
        (
            wrong(
                "x+0",
                || binary(BinaryOp::Add, var(0), Pattern::Number(0.0)),
                Make::One(|_, m, _| Some(m.var(0))),
            ),
            &[Tier::Rounding],
        ),
        (
            wrong(
                "x/x",
                || binary(BinaryOp::Div, var(0), var(0)),
                Make::One(|s, m, loc| {
                    let ty = s[m.var(0)].data.ty.clone();
                    let one = facts::add_scalar(s, fornax_ir::scalar::Scalar::from_f64(ty.dtype, 1.0), loc);
                    add(
                        s,
                        fornax_ir::graph::ops::Broadcast { shape: ty.shape.clone(), axes: vec![] },
                        &[one],
                        loc,
                    )
                }),
            ),
            &[Tier::Rounding],
        ),
        (
            wrong(
                "max-min",
                || binary(BinaryOp::Max, var(0), var(1)),
                Make::One(|s, m, loc| {
                    let low = add(s, Binary(BinaryOp::Min), &[m.var(0), m.var(1)], loc)?;
                    let sum = add(s, Binary(BinaryOp::Add), &[m.var(0), m.var(1)], loc)?;
                    add(s, Binary(BinaryOp::Sub), &[sum, low], loc)
                }),
            ),
            &[Tier::Rounding],
        ),
        (
            wrong(
                "abs",
                || unary(UnaryOp::Abs, unary(UnaryOp::Neg, var(0))),
                Make::One(|s, m, loc| add(s, Unary(UnaryOp::Abs), &[m.var(0)], loc)),
            ),
            // It is right.
            &[],
        ),
        (
            wrong("permute", || node(0, ANY, vec![var(0)]), Make::One(|_, m, _| Some(m.var(0)))),
            &[Tier::Types, Tier::Algebra, Tier::Rounding],
        ),
    ];
    for (rule, tiers) in WRONG {
        let certificate = certify(rule, QUICK);
        match &certificate.refuted {
            None => assert!(tiers.is_empty() && certificate.holds(), "{certificate}"),
            Some(found) => assert!(tiers.contains(&found.tier), "{certificate}"),
        }
    }
}

#[test]
fn a_guard_that_nothing_needs_is_found() {
    static IDLE: Rule = Rule {
        name: "idle",
        equation: "-(-x) = x",
        why: "it is right for all x",
        guards: &[Guard { name: "x is a float", holds: |s, m| s[m.var(0)].data.ty.dtype.is_float() }],
        find: Find::Pattern(|| unary(UnaryOp::Neg, unary(UnaryOp::Neg, var(0)))),
        make: Make::One(|_, m, _| Some(m.var(0))),
        ..Rule::BARE
    };
    let certificate = certify(&IDLE, Effort { graphs: 60, drawn: 20, seed: 3 });
    assert!(certificate.refuted.is_none() && !certificate.holds(), "{certificate}");
}
