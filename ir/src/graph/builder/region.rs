//! Control flow.

use super::{Builder, Result};
use crate::dim::Dim;
use crate::graph::ops::{Cond, Op, Proj, Scan, While};
use crate::graph::{Graph, RegionId, ValueId};

/// What [`Builder::scan`] works on, besides its body.
#[derive(Clone, Debug)]
pub struct ScanOperands<'a> {
    /// First values of what is carried from one iteration to the next.
    pub carried: &'a [ValueId],
    /// Tensors that are walked along their leading axis.
    pub xs: &'a [ValueId],
    /// Values that every iteration sees.
    pub captured: &'a [ValueId],
    /// The number of iterations: the leading extent of every walked tensor.
    pub length: Dim,
    /// From the last place to the first.
    pub reverse: bool,
}

impl Builder {
    /// A builder for a region of this graph: it knows the symbols and ranges that are declared so far.
    pub fn region(&self, name: &str) -> Builder {
        let mut b = Builder::new(name);
        b.graph.symbols = self.graph.symbols.clone();
        b.graph.ranges = self.graph.ranges.clone();
        b
    }

    /// Adds a graph as a region, for the operator that is added next.
    pub fn add_region(&mut self, region: Graph) -> RegionId {
        let id = RegionId(self.graph.regions.len() as u32);
        self.graph.regions.push(region);
        id
    }

    /// `if pred { then } else { otherwise }`: both take the captured values as inputs and give results
    /// of the same types. Returns the results.
    ///
    /// # Errors
    /// `Shape` or `DType` if the predicate is not `bool[]` or the regions do not fit.
    pub fn cond(
        &mut self,
        pred: ValueId,
        then: Graph,
        otherwise: Graph,
        captured: &[ValueId],
    ) -> Result<Vec<ValueId>> {
        let operands: Vec<ValueId> = [&[pred], captured].concat();
        self.with_regions([then, otherwise], &operands, |[then, otherwise]| Cond { then, otherwise }.into())
    }

    /// `while cond(x) { x = body(x) }`: both take the carried and captured values as inputs; `cond` gives
    /// one `bool[]`, `body` the next carried values. Returns the carried values of the end.
    ///
    /// # Errors
    /// `Shape` if the regions do not fit.
    pub fn while_loop(
        &mut self,
        cond: Graph,
        body: Graph,
        carried: &[ValueId],
        captured: &[ValueId],
    ) -> Result<Vec<ValueId>> {
        let operands: Vec<ValueId> = [carried, captured].concat();
        let carried = carried.len() as u32;
        self.with_regions([cond, body], &operands, |[cond, body]| While { cond, body, carried }.into())
    }

    /// A loop along the leading axis of the walked tensors, see [`Scan`]. Returns the carried values of
    /// the end, then the stacked outputs.
    ///
    /// # Errors
    /// `Shape` if the body does not fit, or the length is not the extent of what is walked.
    pub fn scan(&mut self, body: Graph, of: &ScanOperands<'_>) -> Result<Vec<ValueId>> {
        let operands: Vec<ValueId> = [of.carried, of.xs, of.captured].concat();
        let (carried, xs) = (of.carried.len() as u32, of.xs.len() as u32);
        let (length, reverse) = (of.length.clone(), of.reverse);
        self.with_regions([body], &operands, |[body]| Scan { body, carried, xs, length, reverse }.into())
    }

    /// Adds an operator with new regions, and all its results; leaves no region behind on error.
    fn with_regions<const N: usize>(
        &mut self,
        regions: [Graph; N],
        operands: &[ValueId],
        op: impl FnOnce([RegionId; N]) -> Op,
    ) -> Result<Vec<ValueId>> {
        let before = self.graph.regions.len();
        let op = op(regions.map(|r| self.add_region(r)));
        match self.add(op.clone(), operands) {
            Ok(node) => self.results(node),
            Err(e) => {
                self.graph.regions.truncate(before);
                Err(e)
            }
        }
    }

    /// All results of a region operator's node.
    ///
    /// # Errors
    /// As [`Builder::add`], for results whose type overflows.
    pub fn results(&mut self, node: ValueId) -> Result<Vec<ValueId>> {
        let count = self.graph.node(node).op.results(&self.graph.regions).len() as u32;
        (0..count).map(|k| self.add(Proj(k), &[node])).collect()
    }
}
