//! Graphs that several tests look at: their arguments, the check of their e-graphs, and a chain of transformer blocks.

use fornax_compiler::canonicalize::{CanonicalizeOptions, canonicalize};
use fornax_compiler::renumber::renumber;
use fornax_compiler::rewrite::differential::{self, Checked};
use fornax_ir::graph::interp::{Bindings, bind};
use fornax_ir::graph::{Builder, Graph, Input, TensorType, ValueId};
use fornax_ir::{DType, Dim, Literal};

/// Numbers that look random.
pub struct Choice(pub u64);

impl Choice {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    /// A tensor: floats in -1..1, and no integer above 1, which indexes every table and repeats every loop once.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Literal {
        let n: usize = shape.iter().product();
        let value = |c: &mut Choice| match dtype {
            d if d.is_float() => c.below(2001) as f64 / 1000.0 - 1.0,
            _ => c.below(2) as f64,
        };
        let mut data = vec![0; n * dtype.bytes()];
        for bytes in data.chunks_mut(dtype.bytes()) {
            let scalar = fornax_ir::scalar::Scalar::from_f64(dtype, value(self));
            fornax_ir::kernel::interp::write(scalar, bytes);
        }
        Literal::from_bytes(dtype, shape, data.into()).unwrap()
    }
}

/// Arguments of a graph whose symbols have these values.
pub fn arguments(graph: &Graph, size: &dyn Fn(&str) -> Option<i64>) -> Vec<Literal> {
    let mut choice = Choice(1);
    let extent = |d: &Dim| usize::try_from(d.eval_symbols(size).unwrap()).unwrap();
    let argument = |i: &Input| {
        let shape: Vec<usize> = i.ty.shape.iter().map(extent).collect();
        choice.tensor(i.ty.dtype, &shape)
    };
    graph.inputs.iter().map(argument).collect()
}

/// What the optimizer makes an e-graph of.
pub fn canonical(graph: &Graph, strict: bool) -> Graph {
    let options = CanonicalizeOptions { strict, ..CanonicalizeOptions::default() };
    canonicalize(renumber(graph), &options).unwrap()
}

/// Compares every node of the e-graph with its class, on some arguments, and the same in the graph's regions, as far as their
/// inputs give their symbols values.
///
/// # Errors
/// What differs, in words.
pub fn check_nodes(graph: &Graph, args: &[Literal], strict: bool) -> Result<Checked, String> {
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let sizes = bind(graph, &shapes).map_err(|e| e.to_string())?;
    let graph = canonical(graph, strict);
    let mut checked = differential::check(&graph, args, strict)?;
    // The spellings that the search would take last.
    differential::check_chaos(&graph, args, strict, 1)?;
    check_regions(&graph, &sizes, strict, &mut checked)?;
    Ok(checked)
}

/// The same for the regions of a canonical graph.
pub fn check_regions(
    graph: &Graph,
    sizes: &Bindings,
    strict: bool,
    checked: &mut Checked,
) -> Result<(), String> {
    for region in &graph.regions {
        let args = arguments(region, &|s| sizes.get(s));
        let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
        if bind(region, &shapes).is_ok_and(|bound| bound.values().len() == region.symbols.len()) {
            let Checked { classes, nodes } = differential::check(region, &args, strict)?;
            checked.classes += classes;
            checked.nodes += nodes;
        }
        check_regions(region, sizes, strict, checked)?;
    }
    Ok(())
}

/// A chain of transformer blocks (Vaswani et al. 2017, with the norms before attention and MLP), with constant weights that
/// differ, on `f32[batch, length, width]`.
pub fn transformer(layers: usize, width: usize, heads: usize) -> Graph {
    let mut b = Builder::new("transformer");
    let dims = [Dim::symbol("batch"), Dim::symbol("length"), Dim::from(width as i64)];
    b.set_range("batch", 1, Some(64));
    b.set_range("length", 1, Some(512));
    let mut x = b.input("x", TensorType::new(DType::F32, dims));
    let mut made = Block { b, choice: Choice(7), width, heads };
    for layer in 0..layers {
        made.b.set_loc(&format!("block {layer}"));
        x = made.block(x);
    }
    made.b.output("y", x);
    made.b.finish()
}

struct Block {
    b: Builder,
    choice: Choice,
    width: usize,
    heads: usize,
}

impl Block {
    fn weight(&mut self, shape: &[usize]) -> ValueId {
        let literal = self.choice.tensor(DType::F32, shape);
        self.b.constant("w", literal)
    }

    fn linear(&mut self, x: ValueId, from: usize, to: usize) -> ValueId {
        let (w, bias) = (self.weight(&[from, to]), self.weight(&[to]));
        let y = self.b.matmul(x, w).unwrap();
        self.b.add_values(y, bias).unwrap()
    }

    fn norm(&mut self, x: ValueId) -> ValueId {
        let (scale, bias) = (self.weight(&[self.width]), self.weight(&[self.width]));
        self.b.layer_norm(x, 2, Some(scale), Some(bias), 1e-5).unwrap()
    }

    /// `[batch, heads, length, width / heads]`.
    fn split(&mut self, x: ValueId) -> ValueId {
        let [batch, length, width] = self.b.shape(x) else { panic!("three axes") };
        let heads = Dim::from(self.heads as i64);
        let shape = [batch.clone(), length.clone(), heads.clone(), width.floor_div(&heads)];
        let x = self.b.reshape(x, shape).unwrap();
        self.b.permute(x, &[0, 2, 1, 3]).unwrap()
    }

    fn attention(&mut self, x: ValueId) -> ValueId {
        let w = self.width;
        let [q, k, v] = [(); 3].map(|()| {
            let y = self.linear(x, w, w);
            self.split(y)
        });
        let k = self.b.permute(k, &[0, 1, 3, 2]).unwrap();
        let scores = self.b.matmul(q, k).unwrap();
        let scale = ((w / self.heads) as f64).powf(-0.5);
        let scores = self.b.with_const(fornax_ir::scalar::BinaryOp::Mul, scores, scale).unwrap();
        let p = self.b.softmax(scores, 3).unwrap();
        let mixed = self.b.matmul(p, v).unwrap();
        let mixed = self.b.permute(mixed, &[0, 2, 1, 3]).unwrap();
        let shape = self.b.shape(x).to_vec();
        let mixed = self.b.reshape(mixed, shape).unwrap();
        self.linear(mixed, w, w)
    }

    fn block(&mut self, x: ValueId) -> ValueId {
        let w = self.width;
        let y = self.norm(x);
        let y = self.attention(y);
        let x = self.b.add_values(x, y).unwrap();
        let y = self.norm(x);
        let y = self.linear(y, w, 4 * w);
        let y = self.b.gelu(y).unwrap();
        let y = self.linear(y, 4 * w, w);
        self.b.add_values(x, y).unwrap()
    }
}
