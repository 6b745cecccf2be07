//! Building blocks of this module's tests: small graphs, and agreement of a graph with its canonical
//! form under the reference interpreter.

pub(crate) use fornax_ir::scalar::{BinaryOp, UnaryOp};

use super::{CanonicalizeOptions, canonicalize, dead_code, simplify};
use fornax_ir::dim::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::ops::{DotGeneral, OpClass};
use fornax_ir::graph::verify::verify;
use fornax_ir::graph::{Builder, Graph, TensorType, ValueId, interp};
use fornax_ir::literal::Literal;
use fornax_ir::scalar::Scalar;

pub(crate) fn builder() -> Builder {
    Builder::new("test")
}

/// An input whose extents are numbers or symbols.
pub(crate) fn typed_input(b: &mut Builder, name: &str, dtype: DType, shape: &[&str]) -> ValueId {
    let shape: Vec<Dim> = shape.iter().map(|d| d.parse().unwrap()).collect();
    b.input(name, TensorType::new(dtype, shape))
}
pub(crate) fn input(b: &mut Builder, name: &str, shape: &[&str]) -> ValueId {
    typed_input(b, name, DType::F32, shape)
}
pub(crate) fn f32s(shape: &[usize], v: &[f32]) -> Literal {
    Literal::from_vec(shape, v.to_vec()).unwrap()
}
/// Small numbers of both signs, all different from their neighbours.
pub(crate) fn ramp(shape: &[usize]) -> Literal {
    let n: usize = shape.iter().product();
    Literal::from_vec(shape, (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()).unwrap()
}
pub(crate) fn i8s(shape: &[usize]) -> Literal {
    let n: usize = shape.iter().product();
    Literal::from_vec(shape, (0..n).map(|i| (i * 37 + 11) as u8 as i8).collect()).unwrap()
}
/// The product of two matrices.
pub(crate) fn matmul(b: &mut Builder, x: ValueId, y: ValueId) -> ValueId {
    b.add(DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[x, y]).unwrap()
}

/// The operators of a graph, in order.
pub(crate) fn ops(g: &Graph) -> Vec<&'static str> {
    g.nodes.iter().map(|n| n.op.name()).collect()
}
/// Those that compute something.
pub(crate) fn arithmetic(g: &Graph) -> Vec<&'static str> {
    let computes = |c: OpClass| matches!(c, OpClass::Elementwise | OpClass::Contraction);
    g.nodes.iter().filter(|n| computes(n.op.class())).map(|n| n.op.name()).collect()
}

/// The graph after simplification alone; it computes the same bits.
pub(crate) fn simplified(b: Builder) -> Graph {
    let old = b.finish();
    let clean = dead_code::remove(old.clone());
    let new = dead_code::remove(simplify::simplify(&clean, &CanonicalizeOptions::default()).unwrap());
    verify(&new).unwrap();
    assert_agree(&old, &new, 0.0);
    new
}
/// The canonical graph; it computes the same within `tolerance` of the largest element.
pub(crate) fn canonical(b: Builder, tolerance: f64) -> Graph {
    let old = b.finish();
    let new = canonicalize(old.clone(), &CanonicalizeOptions::default()).unwrap();
    assert_agree(&old, &new, tolerance);
    new
}
/// The canonical graph under strict; it computes the same bits.
pub(crate) fn strictly(b: Builder) -> Graph {
    let old = b.finish();
    let options = CanonicalizeOptions { strict: true, ..Default::default() };
    let new = canonicalize(old.clone(), &options).unwrap();
    assert_agree(&old, &new, 0.0);
    new
}

/// Numbers that hit corner cases now and then.
fn draw(dtype: DType, state: &mut u64) -> Scalar {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    let r = *state >> 33;
    match (dtype, r % 16) {
        (DType::Bool, _) => Scalar::bool(r & 64 == 0),
        (d, 0) => Scalar::from_f64(d, 0.0),
        (d, 1) => Scalar::from_f64(d, -0.0),
        (d, _) if d.is_float() => Scalar::from_f64(d, ((r >> 4) % 65) as f64 / 8.0 - 4.0),
        (d, _) => Scalar::from_i64(d, ((r >> 4) % 7) as i64 - 3),
    }
}

fn argument(ty: &TensorType, extent: i64, state: &mut u64) -> Literal {
    let shape: Vec<usize> =
        ty.shape.iter().map(|d| d.eval_symbols(&|_| Some(extent)).unwrap() as usize).collect();
    let n: usize = shape.iter().product();
    let mut bytes = vec![];
    for _ in 0..n {
        bytes.extend(&draw(ty.dtype, state).bits.to_ne_bytes()[..ty.dtype.bytes()]);
    }
    Literal::from_bytes(ty.dtype, &shape, bytes.into()).unwrap()
}

/// Both graphs, run on random arguments with symbols of 1 to 5, give the same outputs: the same
/// bits (NaN equal to NaN) for a tolerance of 0.
pub(crate) fn assert_agree(old: &Graph, new: &Graph, tolerance: f64) {
    let declared = |g: &Graph| {
        (g.inputs.iter().map(|i| (i.name.clone(), i.ty.clone())).collect::<Vec<_>>(), g.symbols.clone())
    };
    assert_eq!(declared(old), declared(new));
    assert_eq!(old.ranges, new.ranges);
    assert!(old.guards.iter().all(|g| new.guards.contains(g)));
    let mut state = 42;
    for extent in [1, 2, 3, 4, 5] {
        let args: Vec<Literal> = old.inputs.iter().map(|i| argument(&i.ty, extent, &mut state)).collect();
        let (a, b) = match (interp::run(old, &args), interp::run(new, &args)) {
            (Ok(a), Ok(b)) => (a, b),
            // What a guard refuses is refused before and after.
            (Err(a), Err(b)) if a == b => continue,
            (a, b) => panic!("{:?} became {:?}", a.err(), b.err()),
        };
        assert_eq!(a.index_error.is_some(), b.index_error.is_some());
        for ((x, y), o) in a.outputs.iter().zip(&b.outputs).zip(&old.outputs) {
            assert_eq!((x.dtype(), x.shape()), (y.dtype(), y.shape()), "{}", o.name);
            let most = (0..x.len()).map(|i| x.get_f64(i).abs()).filter(|v| v.is_finite()).fold(0.0, f64::max);
            for i in 0..x.len() {
                let (p, q) = (x.get_f64(i), y.get_f64(i));
                let bits = p.to_bits() == q.to_bits() || (p.is_nan() && q.is_nan());
                let near = tolerance > 0.0 && (p - q).abs() <= tolerance * most;
                assert!(bits || near, "{}[{i}]: {p} became {q}", o.name);
            }
        }
    }
}
