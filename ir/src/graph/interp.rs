//! The reference interpreter: runs a graph node by node. It is the definition the compiler is held to.

mod region;

use super::ops::EvalCx;
use super::{Graph, GraphError, Guard, GuardKind, Op, OpError, ValueId};
use crate::dim::{Dim, DimError};
use crate::dtype::DType;
use crate::literal::Literal;
use region::Value;
use std::cell::Cell;
use thiserror::Error;

/// Why a graph cannot run on some arguments.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum InterpError {
    /// Too few or too many arguments.
    #[error("the graph takes {want} inputs ({names}), but {got} were given")]
    Count {
        /// The number of inputs.
        want: usize,
        /// Their names.
        names: String,
        /// The number given.
        got: usize,
    },
    /// An argument of another dtype.
    #[error("input `{input}` must be {want}, but {got} was given")]
    DType {
        /// The input.
        input: String,
        /// Its dtype.
        want: DType,
        /// The dtype given.
        got: DType,
    },
    /// An argument of another rank.
    #[error("input `{input}` must be {ty}, with {want} axes, but shape {got:?} was given")]
    Rank {
        /// The input.
        input: String,
        /// Its type as text.
        ty: String,
        /// The number of its axes.
        want: usize,
        /// The shape given.
        got: Vec<usize>,
    },
    /// An extent that contradicts a constant, or a symbol that has a value already.
    #[error("input `{input}`: axis {axis} must be {dim}{reason}, but is {got}")]
    Extent {
        /// The input.
        input: String,
        /// The axis.
        axis: usize,
        /// The declared extent.
        dim: String,
        /// Its value and where that comes from; empty for constants.
        reason: String,
        /// The extent given.
        got: usize,
    },
    /// A symbol outside its declared range.
    #[error("{place}: dimension `{symbol}` is {value}, outside its declared range {range}")]
    Range {
        /// The input and axis that gave the value.
        place: String,
        /// The symbol.
        symbol: String,
        /// Its value.
        value: i64,
        /// The range as text.
        range: String,
    },
    /// An extent from which no value of its symbols follows.
    #[error("input `{input}`: no value of the dimensions in `{dim}` follows from axis {axis} being {got}")]
    Unsolvable {
        /// The input.
        input: String,
        /// The axis.
        axis: usize,
        /// The declared extent.
        dim: String,
        /// The extent given.
        got: usize,
    },
    /// A condition on extents does not hold.
    #[error("{}{what}: {found}", prefix(.loc))]
    Guard {
        /// Location of the node that needs it.
        loc: String,
        /// What needs it.
        what: String,
        /// Both sides with their values: `n = 3 is not m = 4`.
        found: String,
    },
    /// An extent has no value for these arguments.
    #[error("{}`{dim}` has no value here: {source}", prefix(.loc))]
    Dim {
        /// Location of the node that needs it.
        loc: String,
        /// The expression.
        dim: String,
        /// Why.
        #[source]
        source: DimError,
    },
    /// A node could not be evaluated.
    #[error(transparent)]
    Node(#[from] GraphError),
}

fn prefix(loc: &str) -> String {
    if loc.is_empty() { String::new() } else { format!("{loc}: ") }
}

/// Values of a graph's symbols for some arguments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bindings {
    names: Vec<String>,
    values: Vec<i64>,
}

impl Bindings {
    /// The value of a symbol.
    pub fn get(&self, symbol: &str) -> Option<i64> {
        self.names.iter().position(|n| n == symbol).map(|i| self.values[i])
    }
    /// The values in the order of [`Graph::symbols`].
    pub fn values(&self) -> &[i64] {
        &self.values
    }
    /// The value of an extent.
    ///
    /// # Errors
    /// As [`Dim::eval_symbols`].
    pub fn dim(&self, d: &Dim) -> Result<i64, DimError> {
        match d.as_const() {
            Some(v) => Ok(v),
            None => d.eval_symbols(&|s| self.get(s)),
        }
    }
}

/// What a run gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The outputs, in the graph's order.
    pub outputs: Vec<Literal>,
    /// Set when an index was out of range: the location of the first node where.
    pub index_error: Option<String>,
}

/// Where a symbol got its value.
struct Origin {
    value: i64,
    input: usize,
    axis: usize,
}

struct Binder<'a> {
    graph: &'a Graph,
    shapes: &'a [(&'a [usize], DType)],
    origins: Vec<Option<Origin>>,
}

/// Values of the graph's symbols for arguments of those shapes and dtypes, all checked against the
/// inputs' types and the declared ranges. Guards are not checked: see [`check_guards`].
///
/// # Errors
/// Everything of [`InterpError`] but `Guard` and `Node`; messages name the input, axis and symbol.
pub fn bind(graph: &Graph, shapes: &[(&[usize], DType)]) -> Result<Bindings, InterpError> {
    let mut binder = Binder { graph, shapes, origins: graph.symbols.iter().map(|_| None).collect() };
    binder.check_types()?;
    // Extents that are one symbol first, so that messages name the plainest origin; the rest twice,
    // because one may wait for another's symbol.
    for plain in [true, false, false] {
        for (input, i) in graph.inputs.iter().enumerate() {
            for (axis, d) in i.ty.shape.iter().enumerate() {
                if d.as_symbol().is_some() == plain && d.as_const().is_none() {
                    binder.solve(input, axis, d)?;
                }
            }
        }
    }
    binder.check_extents()?;
    let values = binder.origins.iter().map(|o| o.as_ref().map_or(0, |o| o.value)).collect();
    Ok(Bindings { names: graph.symbols.clone(), values })
}

impl Binder<'_> {
    fn name(&self, input: usize) -> String {
        self.graph.inputs[input].name.clone()
    }

    fn value(&self, symbol: &str) -> Option<i64> {
        let i = self.graph.symbols.iter().position(|s| s == symbol)?;
        self.origins[i].as_ref().map(|o| o.value)
    }

    fn check_types(&self) -> Result<(), InterpError> {
        let inputs = &self.graph.inputs;
        if inputs.len() != self.shapes.len() {
            let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
            let (want, got) = (inputs.len(), self.shapes.len());
            return Err(InterpError::Count { want, names: names.join(", "), got });
        }
        for (i, &(shape, dtype)) in inputs.iter().zip(self.shapes) {
            let input = i.name.clone();
            if i.ty.dtype != dtype {
                return Err(InterpError::DType { input, want: i.ty.dtype, got: dtype });
            }
            if i.ty.rank() != shape.len() {
                let (ty, want) = (i.ty.to_string(), i.ty.rank());
                return Err(InterpError::Rank { input, ty, want, got: shape.to_vec() });
            }
        }
        Ok(())
    }

    /// Binds the symbol of an extent in which one symbol has no value yet: itself, or a linear
    /// expression of it.
    fn solve(&mut self, input: usize, axis: usize, d: &Dim) -> Result<(), InterpError> {
        let got = self.shapes[input].0[axis];
        let free: Vec<_> = d.symbols().into_iter().filter(|s| self.value(s).is_none()).collect();
        let symbol = match free.as_slice() {
            [] => return Ok(()),
            [s] => s.clone(),
            _ => return Ok(()), // a later extent may bind the others; checked at the end
        };
        let at = |v: i64| d.eval_symbols(&|s| if s == &*symbol { Some(v) } else { self.value(s) });
        let unsolvable =
            || InterpError::Unsolvable { input: self.name(input), axis, dim: d.to_string(), got };
        let target = i64::try_from(got).map_err(|_| unsolvable())?;
        let value = if d.as_symbol().is_some() {
            target
        } else {
            let line = at(0).and_then(|zero| at(1).map(|one| (zero, one)));
            let (zero, one) = line.map_err(|_| unsolvable())?;
            let slope = one.checked_sub(zero).filter(|&s| s != 0).ok_or_else(unsolvable)?;
            let value = target.checked_sub(zero).map(|rise| rise.wrapping_div(slope));
            value.filter(|&v| at(v) == Ok(target)).ok_or_else(unsolvable)?
        };
        let (lo, hi) = self.graph.ranges.symbol(&symbol);
        if value < lo || hi.is_some_and(|hi| value > hi) {
            return Err(InterpError::Range {
                place: format!("input `{}`, axis {axis}", self.name(input)),
                symbol: symbol.to_string(),
                value,
                range: hi.map_or(format!("{lo}.."), |hi| format!("{lo}..={hi}")),
            });
        }
        if let Some(i) = self.graph.symbols.iter().position(|s| **s == *symbol) {
            self.origins[i] = Some(Origin { value, input, axis });
        }
        Ok(())
    }

    fn check_extents(&self) -> Result<(), InterpError> {
        for (input, i) in self.graph.inputs.iter().enumerate() {
            for (axis, d) in i.ty.shape.iter().enumerate() {
                let got = self.shapes[input].0[axis];
                let dim = d.to_string();
                let value = d.eval_symbols(&|s| self.value(s)).map_err(|_| InterpError::Unsolvable {
                    input: self.name(input),
                    axis,
                    dim: dim.clone(),
                    got,
                })?;
                if i64::try_from(got) != Ok(value) {
                    let reason = self.reason(d, value);
                    return Err(InterpError::Extent { input: self.name(input), axis, dim, reason, got });
                }
            }
        }
        Ok(())
    }

    /// ` = 4 (as axis 0 of input `x`)`; empty for constants.
    fn reason(&self, d: &Dim, value: i64) -> String {
        let symbols = &self.graph.symbols;
        let mut places = vec![];
        for (name, origin) in symbols.iter().zip(&self.origins) {
            let used = d.symbols().iter().any(|s| **s == **name);
            if let Some(o) = origin.as_ref().filter(|_| used) {
                places.push(format!("{name} = {} from axis {} of `{}`", o.value, o.axis, self.name(o.input)));
            }
        }
        if places.is_empty() { String::new() } else { format!(" = {value} ({})", places.join(", ")) }
    }
}

/// Checks the conditions that inference left to run time, those of regions included.
///
/// # Errors
/// `Guard` for the first that does not hold, `Dim` where a side has no value.
pub fn check_guards(graph: &Graph, bindings: &Bindings) -> Result<(), InterpError> {
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        graph.guards.iter().try_for_each(|g| check_guard(graph, g, bindings))?;
        graphs.extend(graph.regions.iter().rev());
    }
    Ok(())
}

fn check_guard(graph: &Graph, g: &Guard, bindings: &Bindings) -> Result<(), InterpError> {
    let loc = graph.loc_text(g.loc).to_string();
    let side = |d: &Dim| {
        let no_value = |source| InterpError::Dim { loc: loc.clone(), dim: d.to_string(), source };
        bindings.dim(d).map_err(no_value)
    };
    let (left, right) = (side(&g.lhs)?, side(&g.rhs)?);
    let (holds, relation) = match g.kind {
        GuardKind::Eq => (left == right, "is not"),
        GuardKind::Le => (left <= right, "is more than"),
    };
    if holds {
        return Ok(());
    }
    let found = format!("{} {relation} {}", valued(&g.lhs, left), valued(&g.rhs, right));
    Err(InterpError::Guard { loc, what: g.what.clone(), found })
}

/// `n = 3`, or just `3`.
fn valued(d: &Dim, value: i64) -> String {
    if d.as_const().is_some() { value.to_string() } else { format!("{d} = {value}") }
}

/// A graph with its arguments and symbol values.
struct Run<'a> {
    graph: &'a Graph,
    args: &'a [Literal],
    bindings: &'a Bindings,
    index_error: Option<String>,
}

/// The values of a graph's nodes, as far as they are there.
struct Values(Vec<Option<Value>>);

fn checked_bindings(graph: &Graph, args: &[Literal]) -> Result<Bindings, InterpError> {
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let bindings = bind(graph, &shapes)?;
    check_guards(graph, &bindings)?;
    Ok(bindings)
}

impl<'a> Run<'a> {
    fn new(graph: &'a Graph, args: &'a [Literal], bindings: &'a Bindings) -> Self {
        Run { graph, args, bindings, index_error: None }
    }

    fn eval(&mut self, v: ValueId, values: &Values) -> Result<Value, InterpError> {
        let node = self.graph.node(v);
        let operands = values.operands(&node.inputs);
        if node.op.has_regions() {
            return Ok(Value::Results(self.region(v, &operands)?));
        }
        if let Op::Proj(p) = &node.op
            && let Some(result) = values.result(node.inputs[0], p.0)
        {
            return Ok(Value::Tensor(result.clone()));
        }
        let flag = Cell::new(false);
        let result = eval_node(self.graph, v, &operands, self.args, self.bindings, &flag);
        let result = result.map_err(|source| GraphError { loc: self.graph.loc(v).to_string(), source })?;
        if flag.get() && self.index_error.is_none() {
            let loc = self.graph.loc(v);
            let name = node.op.name();
            self.index_error = Some(if loc.is_empty() { format!("{name} {v}") } else { loc.to_string() });
        }
        Ok(Value::Tensor(result))
    }

    /// The outputs. Only what they need is computed; a value is freed after its last use.
    fn outputs(&mut self) -> Result<Vec<Literal>, InterpError> {
        let graph = self.graph;
        let live = graph.live();
        let mut last_use = vec![None; graph.nodes.len()];
        for v in graph.values().filter(|v| live[v.index()]) {
            graph.node(v).inputs.iter().for_each(|i| last_use[i.index()] = Some(v));
        }
        graph.outputs.iter().for_each(|o| last_use[o.value.index()] = None);
        let mut values = Values(vec![None; graph.nodes.len()]);
        for v in graph.values().filter(|v| live[v.index()]) {
            let result = self.eval(v, &values)?;
            for i in graph.node(v).inputs.iter().filter(|i| last_use[i.index()] == Some(v)) {
                values.0[i.index()] = None;
            }
            values.0[v.index()] = Some(result);
        }
        let value = |o: &super::Output| values.0[o.value.index()].clone().map(Value::into_literal);
        Ok(graph.outputs.iter().filter_map(value).collect())
    }
}

/// Evaluates one node on its operands' values. `index_error` is set when an index was out of range.
///
/// # Errors
/// `Eval` when an extent is negative or without value, or memory does not suffice.
pub fn eval_node(
    graph: &Graph,
    v: ValueId,
    operands: &[&Literal],
    args: &[Literal],
    bindings: &Bindings,
    index_error: &Cell<bool>,
) -> Result<Literal, OpError> {
    let node = graph.node(v);
    let op = node.op.row().name;
    let extent = |d: &Dim| {
        let value = bindings.dim(d).map_err(|e| e.to_string());
        let value = value.and_then(|n| usize::try_from(n).map_err(|_| format!("it is {n}")));
        value.map_err(|why| OpError::Eval { op, what: format!("extent {d} cannot be: {why}") })
    };
    let shape = node.ty.shape.iter().map(extent).collect::<Result<Vec<usize>, _>>()?;
    let cx = EvalCx {
        args,
        consts: &graph.consts,
        symbol: &|s| bindings.get(s),
        dtype: node.ty.dtype,
        shape: &shape,
        index_error,
    };
    let result = node.op.meaning().eval(&cx, operands)?;
    debug_assert!(result.dtype() == node.ty.dtype && result.shape() == shape, "{v} = {:?}", node.op);
    Ok(result)
}

/// Runs the graph. Only what the outputs need is computed; a value is freed after its last use.
///
/// # Errors
/// See [`InterpError`]. An index out of range is no error here: see [`Outcome`].
pub fn run(graph: &Graph, args: &[Literal]) -> Result<Outcome, InterpError> {
    let bindings = checked_bindings(graph, args)?;
    let mut run = Run::new(graph, args, &bindings);
    let outputs = run.outputs()?;
    Ok(Outcome { outputs, index_error: run.index_error })
}

/// Runs the graph and gives the value of every node, also of those no output needs; of a region
/// operator, whose results its `Proj`s give, a tensor without elements.
///
/// # Errors
/// As [`run`].
pub fn run_all(graph: &Graph, args: &[Literal]) -> Result<Vec<Literal>, InterpError> {
    let bindings = checked_bindings(graph, args)?;
    let mut run = Run::new(graph, args, &bindings);
    let mut values = Values(Vec::with_capacity(graph.nodes.len()));
    for v in graph.values() {
        let result = run.eval(v, &values)?;
        values.0.push(Some(result));
    }
    Ok(values.0.into_iter().flatten().map(Value::into_literal).collect())
}

/// The value of a node whose operands are all constants and whose extents are too; `None` where it
/// has other operands, reads out of range, or cannot be evaluated.
pub fn eval_const(graph: &Graph, v: ValueId) -> Option<Literal> {
    let node = graph.node(v);
    if matches!(node.op, Op::Input(_)) {
        return None;
    }
    let operands = node.inputs.iter().map(|&i| graph.literal(i)).collect::<Option<Vec<_>>>()?;
    let flag = Cell::new(false);
    let result = eval_node(graph, v, &operands, &[], &Bindings::default(), &flag).ok()?;
    (!flag.get()).then_some(result)
}
