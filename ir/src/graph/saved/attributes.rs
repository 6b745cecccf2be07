//! Attributes of operators as named values: what is written for each operator, and how it is read back.

use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::ops::*;
use crate::graph::{ConstId, Op, OpKind, RegionId};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// An integer, also a position in a table of the graph, or 0 or 1 for a truth value.
    Int(i64),
    /// Integers; pairs stand one behind the other.
    Ints(Vec<i64>),
    /// Extents; pairs stand one behind the other.
    Extents(Vec<Dim>),
    /// A name.
    Text(String),
    /// An element type.
    DType(DType),
}

/// The attributes of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attributes(pub Vec<(String, Value)>);

fn flat<T: Clone>(pairs: &[(T, T)]) -> Vec<T> {
    pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect()
}

fn wide(list: &[u32]) -> Value {
    Value::Ints(list.iter().map(|&v| v.into()).collect())
}

fn wide_pairs(list: &[(u32, u32)]) -> Value {
    wide(&flat(list))
}

/// The attributes of an operator.
pub(super) fn of(op: &Op) -> Attributes {
    use Value::{DType, Extents, Int, Ints, Text};
    let int = |v: u32| Int(v.into());
    let name = |n: &str| Text(n.to_string());
    let list: Vec<(&str, Value)> = match op {
        Op::Input(a) => vec![("index", int(a.0))],
        Op::Const(a) => vec![("constant", int(a.0))],
        Op::Iota(a) => {
            vec![("dtype", DType(a.dtype)), ("shape", Extents(a.shape.clone())), ("axis", int(a.axis))]
        }
        Op::Dims(a) => vec![("dims", Extents(a.dims.clone())), ("scalar", Int(a.scalar.into()))],
        Op::Reshape(a) => vec![("shape", Extents(a.shape.clone()))],
        Op::Permute(a) => vec![("perm", wide(&a.perm))],
        Op::Broadcast(a) => vec![("shape", Extents(a.shape.clone())), ("axes", wide(&a.axes))],
        Op::Slice(a) => vec![
            ("start", Extents(a.start.clone())),
            ("size", Extents(a.size.clone())),
            ("step", Ints(a.step.clone())),
        ],
        Op::Pad(a) => vec![("lo", Extents(a.lo.clone())), ("hi", Extents(a.hi.clone()))],
        Op::Concat(a) => vec![("axis", int(a.axis))],
        Op::Pack(a) => vec![("perm", wide(&a.perm)), ("width", Int(a.width))],
        Op::Unary(a) => vec![("function", name(a.0.name()))],
        Op::Binary(a) => vec![("function", name(a.0.name()))],
        Op::Compare(a) => vec![("relation", name(a.0.name()))],
        Op::Select(_) => vec![],
        Op::Cast(a) => vec![("dtype", DType(a.0))],
        Op::Bitcast(a) => vec![("dtype", DType(a.0))],
        Op::Reduce(a) => vec![("by", name(a.op.name())), ("axes", wide(&a.axes))],
        Op::DotGeneral(a) => vec![("batch", wide_pairs(&a.batch)), ("contract", wide_pairs(&a.contract))],
        Op::Conv(a) => vec![
            ("strides", Ints(a.strides.clone())),
            ("pads", Extents(flat(&a.pads))),
            ("dilations", Ints(a.dilations.clone())),
            ("groups", Int(a.groups)),
        ],
        Op::ReduceWindow(a) => vec![
            ("by", name(a.op.name())),
            ("window", Ints(a.window.clone())),
            ("strides", Ints(a.strides.clone())),
            ("pads", Extents(flat(&a.pads))),
            ("dilations", Ints(a.dilations.clone())),
        ],
        Op::WinogradInput(a) => {
            vec![("tile", Int(a.tile)), ("lo", Ints(a.lo.clone())), ("tiles", Extents(a.tiles.clone()))]
        }
        Op::WinogradWeights(a) => vec![("tile", Int(a.tile)), ("width", Int(a.width))],
        Op::WinogradOutput(a) => vec![("tile", Int(a.tile)), ("size", Extents(a.size.clone()))],
        Op::Gather(a) => vec![("axes", wide(&a.axes))],
        Op::Cumulative(a) => vec![
            ("by", name(a.op.name())),
            ("axis", int(a.axis)),
            ("exclusive", Int(a.exclusive.into())),
            ("reverse", Int(a.reverse.into())),
        ],
        Op::Scatter(a) => {
            vec![("by", name(a.update.name())), ("axes", wide(&a.axes)), ("each", Int(a.each.into()))]
        }
        Op::Sort(a) => vec![
            ("of", name(a.of.name())),
            ("axis", int(a.axis)),
            ("descending", Int(a.descending.into())),
            ("count", Extents(vec![a.count.clone()])),
        ],
        Op::Cond(a) => vec![("then", int(a.then.0)), ("otherwise", int(a.otherwise.0))],
        Op::While(a) => {
            vec![("cond", int(a.cond.0)), ("body", int(a.body.0)), ("carried", int(a.carried))]
        }
        Op::Scan(a) => vec![
            ("body", int(a.body.0)),
            ("carried", int(a.carried)),
            ("xs", int(a.xs)),
            ("length", Extents(vec![a.length.clone()])),
            ("reverse", Int(a.reverse.into())),
        ],
        Op::Proj(a) => vec![("result", int(a.0))],
    };
    Attributes(list.into_iter().map(|(n, v)| (n.to_string(), v)).collect())
}

/// The operator of that kind with these attributes: all of them, and no other.
pub(super) fn operator(kind: OpKind, attributes: Attributes) -> Result<Op, String> {
    let mut a = attributes;
    let op = match kind {
        OpKind::Input => InputRef(a.small("index")?).into(),
        OpKind::Const => ConstId(a.small("constant")?).into(),
        OpKind::Iota => {
            Iota { dtype: a.dtype("dtype")?, shape: a.extents("shape")?, axis: a.small("axis")? }.into()
        }
        OpKind::Dims => Dims { dims: a.extents("dims")?, scalar: a.truth("scalar")? }.into(),
        OpKind::Reshape => Reshape { shape: a.extents("shape")? }.into(),
        OpKind::Permute => Permute { perm: a.axes("perm")? }.into(),
        OpKind::Broadcast => Broadcast { shape: a.extents("shape")?, axes: a.axes("axes")? }.into(),
        OpKind::Slice => {
            Slice { start: a.extents("start")?, size: a.extents("size")?, step: a.ints("step")? }.into()
        }
        OpKind::Pad => Pad { lo: a.extents("lo")?, hi: a.extents("hi")? }.into(),
        OpKind::Pack => Pack { perm: a.axes("perm")?, width: a.int("width")? }.into(),
        OpKind::Concat => Concat { axis: a.small("axis")? }.into(),
        OpKind::Unary => Unary(a.named("function", UnaryOp::from_name)?).into(),
        OpKind::Binary => Binary(a.named("function", BinaryOp::from_name)?).into(),
        OpKind::Compare => Compare(a.named("relation", CompareOp::from_name)?).into(),
        OpKind::Select => Select.into(),
        OpKind::Cast => Cast(a.dtype("dtype")?).into(),
        OpKind::Bitcast => Bitcast(a.dtype("dtype")?).into(),
        OpKind::Reduce => Reduce { op: a.named("by", ReduceOp::from_name)?, axes: a.axes("axes")? }.into(),
        OpKind::DotGeneral => {
            DotGeneral { batch: pairs(a.axes("batch")?)?, contract: pairs(a.axes("contract")?)? }.into()
        }
        OpKind::Conv => Conv {
            strides: a.ints("strides")?,
            pads: pairs(a.extents("pads")?)?,
            dilations: a.ints("dilations")?,
            groups: a.int("groups")?,
        }
        .into(),
        OpKind::ReduceWindow => ReduceWindow {
            op: a.named("by", ReduceOp::from_name)?,
            window: a.ints("window")?,
            strides: a.ints("strides")?,
            pads: pairs(a.extents("pads")?)?,
            dilations: a.ints("dilations")?,
        }
        .into(),
        OpKind::WinogradInput => {
            WinogradInput { tile: a.int("tile")?, lo: a.ints("lo")?, tiles: a.extents("tiles")? }.into()
        }
        OpKind::WinogradWeights => WinogradWeights { tile: a.int("tile")?, width: a.int("width")? }.into(),
        OpKind::WinogradOutput => WinogradOutput { tile: a.int("tile")?, size: a.extents("size")? }.into(),
        OpKind::Gather => Gather { axes: a.axes("axes")? }.into(),
        OpKind::Cumulative => Cumulative {
            op: a.named("by", ReduceOp::from_name)?,
            axis: a.small("axis")?,
            exclusive: a.truth("exclusive")?,
            reverse: a.truth("reverse")?,
        }
        .into(),
        OpKind::Scatter => Scatter {
            update: a.named("by", Update::from_name)?,
            axes: a.axes("axes")?,
            each: a.truth("each")?,
        }
        .into(),
        OpKind::Sort => Sort {
            of: a.named("of", Sorted::from_name)?,
            axis: a.small("axis")?,
            descending: a.truth("descending")?,
            count: a.extent("count")?,
        }
        .into(),
        OpKind::Cond => {
            Cond { then: RegionId(a.small("then")?), otherwise: RegionId(a.small("otherwise")?) }.into()
        }
        OpKind::While => While {
            cond: RegionId(a.small("cond")?),
            body: RegionId(a.small("body")?),
            carried: a.small("carried")?,
        }
        .into(),
        OpKind::Scan => Scan {
            body: RegionId(a.small("body")?),
            carried: a.small("carried")?,
            xs: a.small("xs")?,
            length: a.extent("length")?,
            reverse: a.truth("reverse")?,
        }
        .into(),
        OpKind::Proj => Proj(a.small("result")?).into(),
    };
    match a.0.first() {
        None => Ok(op),
        Some((name, _)) => Err(format!("it has no attribute '{name}', or not twice")),
    }
}

fn pairs<T: Clone>(list: Vec<T>) -> Result<Vec<(T, T)>, String> {
    let (pairs, rest) = list.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("an attribute of pairs has an odd number of values".into());
    }
    Ok(pairs.iter().map(|[a, b]| (a.clone(), b.clone())).collect())
}

impl Attributes {
    /// Removes an attribute.
    pub fn take(&mut self, name: &str) -> Result<Value, String> {
        let at = self.0.iter().position(|(n, _)| n == name);
        at.map(|at| self.0.remove(at).1).ok_or_else(|| format!("its attribute '{name}' is missing"))
    }
    fn int(&mut self, name: &str) -> Result<i64, String> {
        match self.take(name)? {
            Value::Int(v) => Ok(v),
            _ => Err(format!("its attribute '{name}' is not one integer")),
        }
    }
    fn small(&mut self, name: &str) -> Result<u32, String> {
        let v = self.int(name)?;
        u32::try_from(v).map_err(|_| format!("its attribute '{name}' cannot be {v}"))
    }
    fn truth(&mut self, name: &str) -> Result<bool, String> {
        match self.int(name)? {
            0 => Ok(false),
            1 => Ok(true),
            v => Err(format!("its attribute '{name}' is 0 or 1, not {v}")),
        }
    }
    fn ints(&mut self, name: &str) -> Result<Vec<i64>, String> {
        match self.take(name)? {
            Value::Ints(v) => Ok(v),
            _ => Err(format!("its attribute '{name}' is no list of integers")),
        }
    }
    fn axes(&mut self, name: &str) -> Result<Vec<u32>, String> {
        let small = |v: i64| u32::try_from(v).map_err(|_| format!("its attribute '{name}' cannot hold {v}"));
        self.ints(name)?.into_iter().map(small).collect()
    }
    fn extents(&mut self, name: &str) -> Result<Vec<Dim>, String> {
        match self.take(name)? {
            Value::Extents(v) => Ok(v),
            _ => Err(format!("its attribute '{name}' is no list of extents")),
        }
    }
    fn extent(&mut self, name: &str) -> Result<Dim, String> {
        match <[Dim; 1]>::try_from(self.extents(name)?) {
            Ok([one]) => Ok(one),
            Err(_) => Err(format!("its attribute '{name}' is not one extent")),
        }
    }
    fn dtype(&mut self, name: &str) -> Result<DType, String> {
        match self.take(name)? {
            Value::DType(v) => Ok(v),
            _ => Err(format!("its attribute '{name}' is no dtype")),
        }
    }
    fn named<T>(&mut self, name: &str, find: fn(&str) -> Option<T>) -> Result<T, String> {
        match self.take(name)? {
            Value::Text(text) => find(&text).ok_or_else(|| format!("its {name} '{text}' is unknown")),
            _ => Err(format!("its attribute '{name}' is no name")),
        }
    }
}
