//! Tables of equalities, proofs and simplifications; random expressions against a naive tree.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn d(text: &str) -> Dim {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn equal_forms() {
    let cases = [
        ("s+t", "t+s"),
        ("2*(s+1)-2", "2*s"),
        ("(s+1)*(s-1)", "s*s-1"),
        ("s*0", "0"),
        ("floordiv(7,2)", "3"),
        ("floordiv(-7,2)", "-4"),
        ("rem(-7,2)", "1"),
        ("ceildiv(7,2)", "4"),
        ("floordiv(s,1)", "s"),
        ("floordiv(0,s)", "0"),
        ("floordiv(-1,s)", "-1"),
        ("floordiv(s,s)", "1"),
        ("ceildiv(s,s)", "1"),
        ("ceildiv(s,2)", "floordiv(s+1,2)"),
        ("floordiv(4*s+3,4)", "s"),
        ("floordiv(4*s+t,4)", "s+floordiv(t,4)"),
        ("floordiv(s-1,2)+1", "floordiv(s+1,2)"),
        ("floordiv(6*s+5,4)", "s+floordiv(s,2)+1"),
        ("floordiv(floordiv(s,2),3)", "floordiv(s,6)"),
        ("floordiv(floordiv(s,2)+5,3)", "floordiv(s+10,6)"),
        ("floordiv(floordiv(i0,s),t)", "floordiv(i0,s*t)"),
        ("floordiv(2*i0,2*s)", "floordiv(i0,s)"),
        ("floordiv(s*i0,s*t)", "floordiv(i0,t)"),
        ("floordiv(i0*s+i1,s)", "i0+floordiv(i1,s)"),
        ("floordiv(i0*(s+1)+i1,s+1)", "i0+floordiv(i1,s+1)"),
        ("floordiv(i0*(s+1)*(t+2)+i1,(s+1)*(t+2))", "i0+floordiv(i1,(s+1)*(t+2))"),
        ("rem(rem(s,8),4)", "rem(s,4)"),
        ("rem(6*s,4)", "2*rem(s,2)"),
        ("rem(s+8,4)", "rem(s,4)"),
        ("min(s,s)", "s"),
        ("min(s,s+1)", "s"),
        ("max(s,s+1,t,3,5)", "max(5,t,s+1)"),
        ("max(max(a,b),c)", "max(c,max(b,a))"),
        ("min(3,4)", "3"),
        ("4*s+floordiv(s-1,2)+max(a,b)", "max(b,a)+floordiv(s-1,2)+s*4"),
        ("9223372036854775807+1", "overflow"),
        ("0*overflow", "overflow"),
    ];
    for (a, b) in cases {
        assert_eq!(d(a), d(b), "{a} == {b}");
    }
}

#[test]
fn different_forms() {
    let cases = [
        ("s", "t"),
        ("s", "'s '"),
        ("i0", "'i0'"),
        ("floordiv(s,2)*2", "s"),
        ("floordiv(s,2)", "ceildiv(s,2)"),
        ("floordiv(s+t,2)", "floordiv(s,2)+floordiv(t,2)"),
        ("floordiv(2*floordiv(s,2),4)", "floordiv(s,8)"),
        ("floordiv(2*floordiv(s,4),3)", "floordiv(2*s,12)"),
        ("min(s,t)", "max(s,t)"),
        ("min(s,2*s)", "s"),
        ("rem(s,4)", "rem(s,8)"),
        ("s*s", "s"),
    ];
    for (a, b) in cases {
        assert_ne!(d(a), d(b), "{a} != {b}");
    }
}

#[test]
fn exact_division() {
    let exact = [("6*s*t", "2*s", Some("3*t")), ("s*s-1", "s+1", Some("s-1")), ("s+1", "2", None)];
    let more = [("0", "s", Some("0")), ("4", "0", None), ("s*t+t", "s", None), ("12", "4", Some("3"))];
    for (a, b, want) in exact.into_iter().chain(more) {
        assert_eq!(d(a).div_exact(&d(b)), want.map(d), "{a} / {b}");
    }
}

#[test]
fn evaluation_errors() {
    let sym = |name: &str| (name == "s").then_some(i64::MAX);
    assert_eq!(d("s*s").eval_symbols(&sym), Err(DimError::Overflow));
    assert_eq!(d("s+1").eval_symbols(&sym), Err(DimError::Overflow));
    assert_eq!(d("2*s-s").eval_symbols(&sym), Ok(i64::MAX));
    assert_eq!(d("s+t").eval_symbols(&sym), Err(DimError::Unbound("t".into())));
    assert_eq!(d("i3").eval_symbols(&sym), Err(DimError::Unbound("i3".into())));
    assert_eq!(d("floordiv(7,s-s)").eval_symbols(&sym), Err(DimError::DivisionByZero));
    assert_eq!(d("floordiv(7,1-s)").eval_symbols(&sym), Err(DimError::DivisionByZero));
    assert_eq!(d("floordiv(t,-2)").eval_symbols(&|_| Some(3)), Err(DimError::DivisionByZero));
    assert_eq!(d("9223372036854775807*2+s").eval_symbols(&sym), Err(DimError::Overflow));
    assert_eq!(d("-9223372036854775808").as_const(), Some(i64::MIN));
    assert!((-d("-9223372036854775808")).is_poisoned());
}

#[test]
fn parse_errors_say_where() {
    let cases = [
        ("", 0),
        ("s+", 2),
        ("(s", 2),
        ("s t", 2),
        ("'s", 0),
        ("floordiv(s)", 0),
        ("1+9223372036854775808", 2),
        ("i01", 0),
        ("'\\q'", 3),
        ("2*#", 2),
    ];
    for (text, want) in cases {
        match text.parse::<Dim>() {
            Err(DimError::Parse { at, .. }) => assert_eq!(at, want, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let deep = "(".repeat(100_000);
    assert!(matches!(deep.parse::<Dim>(), Err(DimError::Parse { .. })));
}

#[test]
fn growth_is_bounded() {
    let mut square = d("s");
    let mut doubled = d("s");
    let mut nested = d("s");
    for k in 0..100_000i64 {
        square = &square * &square;
        doubled = &doubled * d("u") + doubled.floor_div(&d("v+3"));
        nested = nested.floor_div(&Dim::constant(3)) * 2 + k % 5;
        if square.is_poisoned() && doubled.is_poisoned() && nested.is_poisoned() {
            break;
        }
    }
    for x in [square, doubled, nested] {
        assert_eq!(x.eval_symbols(&|_| Some(1)), Err(DimError::Overflow));
    }
    let wide = |p: &str| (0..20).map(|i| Dim::symbol(&format!("{p}{i}"))).sum::<Dim>();
    let product = wide("a") * wide("b");
    assert!(matches!(product.as_atom(), Some(Atom::Product(_))));
    assert_eq!(product.eval_symbols(&|_| Some(2)), Ok(1600));
    assert_eq!(d(&product.to_string()), product);
    assert_eq!(product, wide("b") * wide("a"));
}

#[test]
fn deep_expressions_need_little_stack_and_time() {
    let run = || {
        let mut x = Dim::axis(0);
        let mut deepest = x.clone();
        for k in 0..i64::from(MAX_DEPTH) * 2 {
            let y = if k % 2 == 0 { x * 2 + 1 } else { Dim::max(&x, &d("t")) };
            x = y.floor_div(&Dim::constant(3 + k % 4));
            if !x.is_poisoned() {
                deepest = x.clone();
            }
        }
        assert!(x.is_poisoned() && deepest.depth() + 2 > MAX_DEPTH);
        let r = ranges();
        assert!(prove_nonneg(&deepest, &r));
        assert!(!prove_nonneg(&(d("s") - &deepest), &r));
        let point = |e: &Dim| e.eval(&|_| Some(9), &|_| Some(5));
        assert_eq!(point(&simplify(&deepest, &r)), point(&deepest));
        assert_eq!(deepest.substitute(&|_| None, &|_| None), deepest);
        assert_eq!(d(&deepest.to_string()), deepest);
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn axes_are_decomposed() {
    let (offset, linear) = d("s*i1+3*i0+i1+t-2").linear_in_axes().expect("linear");
    assert_eq!(offset, d("t-2"));
    assert_eq!(linear, [(0, d("3")), (1, d("s+1"))]);
    for nonlinear in ["i0*i1", "floordiv(i0,2)", "min(i0,s)", "i0*i0"] {
        assert_eq!(d(nonlinear).linear_in_axes(), None, "{nonlinear}");
    }
    let text = "4*floordiv(i0,2)*s+i0+i0*i1*t+floordiv(s,2)+2*floordiv(i0,2)";
    let split = d(text).split_axes();
    assert_eq!(split.offset, d("floordiv(s,2)"));
    assert_eq!(split.linear, [(0, d("1"))]);
    let mut sum = split.offset;
    assert_eq!(split.atoms.len(), 2);
    for (stride, atom) in &split.atoms {
        assert!(!stride.has_axes());
        sum = sum + stride * Dim::from(atom);
    }
    assert_eq!(sum + Dim::axis(0), d(text));
    assert_eq!(d("s+i2*floordiv(i0,t)").axes().into_iter().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(d("min(s,floordiv(t,u))").symbols().len(), 3);
}

#[test]
fn kinds_rebuild_the_dim() {
    assert_eq!(d("5").kind(), DimKind::Const(5));
    assert_eq!(d("overflow").kind(), DimKind::Poisoned);
    let x = d("3*s*s-floordiv(i0+t,4)*s+min(a,2*b)-7");
    let DimKind::Sum(terms) = x.kind() else { panic!("not a sum") };
    let term = |(c, atoms): &(i64, Vec<Atom>)| atoms.iter().map(Dim::from).product::<Dim>() * *c;
    assert_eq!(terms.iter().map(term).sum::<Dim>(), x);
}

#[test]
fn text_quotes_what_is_no_identifier() {
    let names = ["s", "a.b_2", "p2o.DynamicDimension.0", "i0", "i007", "min", "overflow", "", "ü", "1x"];
    let odd = ["a b", "it's", "back\\slash", "new\nline", "\u{1}", "x+y", "?"];
    for name in names.into_iter().chain(odd) {
        let s = Dim::symbol(name);
        assert_eq!(d(&s.to_string()).as_symbol(), Some(name), "{s}");
    }
    assert_eq!(Dim::symbol("it's").to_string(), r"'it\'s'");
    assert_eq!(d("max(b,a)+4*s+floordiv(s-1,2)").to_string(), "4*s+floordiv(s+1,2)+max(a,b)-1");
    assert_eq!(d("-s*t-1").to_string(), "-s*t-1");
}

/// s >= 1, h >= 3, n unbounded from 0, k in 2..=5; axis i0 < n, i1 < s, i2 < 4, i3 < (h-3)/2 + 1.
fn ranges() -> Ranges {
    let mut r = Ranges::new();
    r.set_symbol("s", 1, None);
    r.set_symbol("h", 3, None);
    r.set_symbol("k", 2, Some(5));
    for (k, extent) in ["n", "s", "4", "floordiv(h-3,2)+1", "a*b", "b+1"].iter().enumerate() {
        r.set_axis(k as u32, d(extent));
    }
    r
}

#[test]
fn bounds_are_intervals() {
    let cases = [
        ("k", Some(2), Some(5)),
        ("3-k", Some(-2), Some(1)),
        ("s*k", Some(2), None),
        ("floordiv(k+3,2)", Some(2), Some(4)),
        ("rem(s,4)", Some(0), Some(3)),
        ("rem(floordiv(i0,4),8)", Some(0), Some(7)),
        ("min(s,k)", Some(1), Some(5)),
        ("max(s,k)", Some(2), None),
        ("i2", Some(0), Some(3)),
        ("7", Some(7), Some(7)),
        ("floordiv(k,s)", Some(0), Some(5)),
        ("overflow", None, None),
    ];
    for (text, lo, hi) in cases {
        assert_eq!(d(text).bounds(&ranges()), (lo, hi), "{text}");
    }
}

#[test]
fn proofs() {
    let proven = [
        "n-1-i0",
        "s-1-i1",
        "i0*s+i1",
        "n*s-1-i0*s-i1",
        "n*s*4-1-i0*s*4-4*i1-i2",
        "s*k-s",
        "s*s-s",
        "s-floordiv(s,2)",
        "2*floordiv(s,2)-s+1",
        "h-3-2*i3",
        "h-1-(2*i3+2)",
        "max(s,t)-s",
        "s-min(s,t)",
        "floordiv(n-1,4)-floordiv(i0,4)",
        "t-1-rem(s,t)",
        "rem(s,t)",
        "a*b-1-i4",
        "a-1+0*i4-floordiv(i4,b)",
        "i5*0+b-i5",
        "4*floordiv(i0,4)+3-i0",
        "3-i0+4*floordiv(i0,4)",
    ];
    for text in proven {
        assert!(prove_nonneg(&d(text), &ranges()), "{text}");
    }
    let unproven = [
        "n-1",
        "n-2-i0",
        "s-2",
        "s-t",
        "h-4-2*i3",
        "min(s,t)-s",
        "2*floordiv(s,2)-s",
        "-i0",
        "t-2-rem(s,t)",
        "overflow",
        "a-2-floordiv(i4,b)",
        "2-i0+4*floordiv(i0,4)",
    ];
    for text in unproven {
        assert!(!prove_nonneg(&d(text), &ranges()), "{text}");
    }
    assert!(prove_le(&d("s"), &d("s"), &ranges()) && !prove_lt(&d("s"), &d("s"), &ranges()));
    assert!(prove_lt(&d("i0"), &d("n"), &ranges()));
}

#[test]
fn simplification() {
    let cases = [
        ("floordiv(i0*s+i1,s)", "i0"),
        ("rem(i0*s+i1,s)", "i1"),
        ("floordiv((i0*s+i1)*4+i2,4*s)", "i0"),
        ("rem(floordiv((i0*s+i1)*4+i2,4),s)", "i1"),
        ("rem((i0*s+i1)*4+i2,4)", "i2"),
        ("floordiv(2*i0+rem(i2,2),4)", "floordiv(i0,2)"),
        ("floordiv(3-i2,4)", "0"),
        ("floordiv(4*n-1-i2,4)", "n-1"),
        ("floordiv(-1-i2,4)", "-1"),
        ("floordiv(i2,8)", "0"),
        ("min(i0,n-1)", "i0"),
        ("max(s,1)", "s"),
        ("max(min(s,1),0)", "1"),
        ("min(i1,s,t)", "min(i1,t)"),
        ("floordiv(i0*(floordiv(h-3,2)+1)+i3,floordiv(h-3,2)+1)", "i0"),
        ("floordiv(i2*a*b+i4,a*b)", "i2"),
        ("floordiv(floordiv((i0*a*b+i4)*(b+1)+i5,b+1),a*b)", "i0"),
        ("rem(i0,4)", "rem(i0,4)"),
        ("floordiv(i0,s)", "floordiv(i0,s)"),
    ];
    for (text, want) in cases {
        assert_eq!(simplify(&d(text), &ranges()), d(want), "{text}");
    }
}

/// An expression as written.
#[derive(Clone, Debug)]
enum Tree {
    Const(i64),
    Var(usize),
    Node(u8, Box<Tree>, Box<Tree>),
}

const VARS: [&str; 4] = ["s", "t", "i0", "i1"];

impl Tree {
    fn dim(&self) -> Dim {
        match self {
            Tree::Const(c) => Dim::constant(*c),
            Tree::Var(v) => d(VARS[*v]),
            Tree::Node(op, a, b) => {
                let (a, b) = (a.dim(), b.dim());
                match op {
                    0 => a + b,
                    1 => a - b,
                    2 => a * b,
                    3 => a.floor_div(&b),
                    4 => a.ceil_div(&b),
                    5 => a.rem(&b),
                    6 => Dim::min(&a, &b),
                    _ => Dim::max(&a, &b),
                }
            }
        }
    }

    /// `None` where a divisor is not positive.
    fn value(&self, vars: &[i64; 4]) -> Option<i128> {
        match self {
            Tree::Const(c) => Some((*c).into()),
            Tree::Var(v) => Some(vars[*v].into()),
            Tree::Node(op, a, b) => {
                let (a, b) = (a.value(vars)?, b.value(vars)?);
                if matches!(op, 3..=5) && b <= 0 {
                    return None;
                }
                Some(match op {
                    0 => a + b,
                    1 => a - b,
                    2 => a.checked_mul(b)?,
                    3 => a.div_euclid(b),
                    4 => (a + b - 1).div_euclid(b),
                    5 => a.rem_euclid(b),
                    6 => a.min(b),
                    _ => a.max(b),
                })
            }
        }
    }
}

fn eval(x: &Dim, v: &[i64; 4]) -> Result<i64, DimError> {
    x.eval(&|name| VARS[..2].iter().position(|n| *n == name).map(|i| v[i]), &|k| {
        v.get(k as usize + 2).copied()
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![(-3i64..9).prop_map(Tree::Const), (0usize..4).prop_map(Tree::Var)];
    leaf.prop_recursive(5, 24, 2, |inner| {
        (0u8..8, inner.clone(), inner).prop_map(|(op, a, b)| Tree::Node(op, a.into(), b.into()))
    })
}

/// Extents for the two axes and bounds for the two symbols.
fn small_ranges(extents: [&str; 2]) -> Ranges {
    let mut r = Ranges::new();
    for (name, lo, hi) in [("s", 1, Some(4)), ("t", 1, None)] {
        r.set_symbol(name, lo, hi);
    }
    for (k, e) in extents.iter().enumerate() {
        r.set_axis(k as u32, d(e));
    }
    r
}

/// All points with `s` in 1..=4, `t` in 1..=3 and axes within `extents`.
fn points(r: &Ranges) -> Vec<[i64; 4]> {
    let mut out = Vec::new();
    for (s, t) in (1..=4).flat_map(|s| (1..=3).map(move |t| (s, t))) {
        let extent = |k| {
            let e = r.axis(k).expect("declared");
            e.eval_symbols(&|n| Some(if n == "s" { s } else { t })).expect("small")
        };
        for i in 0..extent(0) {
            out.extend((0..extent(1)).map(|j| [s, t, i, j]));
        }
    }
    out
}

const EXTENTS: [[&str; 2]; 4] = [["s", "t"], ["4", "s*t"], ["t+1", "floordiv(s+2,2)"], ["s-1", "3"]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn normal_form_keeps_values(t in tree(), v in prop::array::uniform4(1i64..8)) {
        let x = t.dim();
        if let Some(want) = t.value(&v)
            && !x.is_poisoned()
        {
            prop_assert_eq!(eval(&x, &v).map(i128::from), Ok(want), "{}", x);
        }
    }

    #[test]
    fn equal_dims_hash_alike_and_print_back(t in tree()) {
        let x = t.dim();
        let back = d(&x.to_string());
        prop_assert_eq!(&back, &x);
        prop_assert_eq!(back.cmp(&x), Ordering::Equal);
        prop_assert_eq!(HashSet::from([x, back]).len(), 1);
    }

    #[test]
    fn any_name_round_trips(name in any::<String>()) {
        let x = Dim::symbol(&name) * 2 + 1;
        prop_assert_eq!(d(&x.to_string()), x);
    }

    #[test]
    fn any_text_parses_or_fails(text in "[-+*(), a-z0-9'\\\\]{0,24}") {
        if let Ok(x) = text.parse::<Dim>() {
            prop_assert_eq!(d(&x.to_string()), x);
        }
    }

    #[test]
    fn division_law(a in tree(), q in tree(), c in tree()) {
        let (a, q, c) = (a.dim(), q.dim(), c.dim());
        let positive = c.as_const().is_none_or(|v| v > 0);
        let small = |x: &Dim| x.terms().len() < 8 && x.weight() < 60;
        if positive && small(&a) && small(&q) && small(&c) && !c.is_poisoned() {
            let (left, right) = ((&a + &q * &c).floor_div(&c), a.floor_div(&c) + &q);
            prop_assert_eq!(left, right, "a={} q={} c={}", a, q, c);
            if !c.is_const(0) && !q.is_poisoned() {
                prop_assert_eq!((&q * &c).div_exact(&c), Some(q));
            }
        }
    }

    #[test]
    fn simplify_bounds_and_proofs_agree_with_values(t in tree(), e in 0usize..4) {
        let r = small_ranges(EXTENTS[e]);
        let x = t.dim();
        let y = simplify(&x, &r);
        let (lo, hi) = x.bounds(&r);
        let proven = prove_nonneg(&x, &r);
        for v in points(&r) {
            if t.value(&v).is_none() {
                continue;
            }
            // A divisor that is not positive is outside the contract, also in a simplified form.
            if let Ok(want) = eval(&x, &v) {
                prop_assert_eq!(eval(&y, &v), Ok(want), "{} to {} at {:?}", x, y, v);
                prop_assert!(lo.is_none_or(|l| l <= want) && hi.is_none_or(|h| want <= h), "{} at {:?}", x, v);
                prop_assert!(!proven || want >= 0, "{} at {:?}", x, v);
            }
        }
    }

    #[test]
    fn substitution_commutes_with_evaluation(t in tree(), by in tree(), v in prop::array::uniform4(1i64..6)) {
        let (x, by) = (t.dim(), by.dim());
        let y = x.substitute(&|n| (n == "s").then(|| by.clone()), &|_| None);
        if let Ok(s) = eval(&by, &v)
            && s > 0
            && let (Ok(want), Some(_)) = (eval(&x, &[s, v[1], v[2], v[3]]), t.value(&[s, v[1], v[2], v[3]]))
            && !y.is_poisoned()
        {
            prop_assert_eq!(eval(&y, &v), Ok(want), "{} with s = {}", x, by);
        }
    }

    /// Linear index of up to four nested axes, taken apart again with symbolic extents.
    #[test]
    fn delinearise_undoes_linearise(extents in prop::collection::vec(prop::sample::select(
        vec!["n", "s", "3", "4*s", "s*t", "t+1", "floordiv(h-3,2)+1", "floordiv(h+1,4)"]), 2..5))
    {
        let mut r = Ranges::new();
        r.set_symbol("h", 3, None);
        let extents: Vec<Dim> = extents.into_iter().map(d).collect();
        let mut index = Dim::ZERO;
        for (k, e) in extents.iter().enumerate() {
            r.set_axis(k as u32, e.clone());
            index = index * e + Dim::axis(k as u32);
        }
        let mut stride = Dim::ONE;
        for (k, e) in extents.iter().enumerate().rev() {
            let outer = index.floor_div(&stride);
            let part = if k == 0 { outer } else { outer.rem(e) };
            prop_assert_eq!(simplify(&part, &r), Dim::axis(k as u32), "{} with {:?}", index, extents);
            stride = stride * e;
        }
    }
}
