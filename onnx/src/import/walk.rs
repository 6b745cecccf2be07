//! The walk over a model's nodes. Function bodies and branches are frames on an explicit stack, so
//! neither long chains nor deep nesting use the program's own stack.

use super::scope::{Frame, FunctionKey, Slot, node_name, operator_name};
use super::{InputInfo, NodeCx, Opsets, domain, input_type, opsets, order};
use crate::error::{ErrorKind, Result, UnsupportedOp};
use crate::ops::{self, Support};
use crate::proto::{FunctionProto, GraphProto, ModelProto, NodeProto};
use crate::tensor::TensorSource;
use fornax_ir::Dim;
use fornax_ir::graph::{Builder, Graph, Op, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// Most nodes that function bodies may expand to: functions that call functions grow exponentially.
const MAX_INLINED: usize = 1_000_000;

/// Largest value of a symbolic extent. Exporters write slices up to 10^9 for "to the end": below that,
/// these are the whole axis.
const MAX_EXTENT: i64 = 999_999_999;

/// Operators that only rename or rearrange elements; they are not counted as operators.
const VIEWS: [&str; 8] =
    ["Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"];

/// A model on its way into a graph.
pub(super) struct Walk<'m> {
    builder: Builder,
    tensors: TensorSource,
    functions: FxHashMap<FunctionKey<'m>, &'m FunctionProto>,
    frames: Vec<Frame<'m>>,
    /// Per graph value: whether it depends on no input's elements.
    constant: Vec<bool>,
    /// The values of each node that counts as an operator.
    counted: Vec<Vec<ValueId>>,
    inlined: usize,
    pub(super) warnings: Vec<String>,
}

impl<'m> Walk<'m> {
    /// With an empty main frame that knows the initializers.
    pub(super) fn new(model: &'m ModelProto, opsets: Opsets<'m>, tensors: TensorSource) -> Result<Self> {
        let graph = model.graph.as_ref().expect("`read::model` checks it");
        let mut functions = FxHashMap::default();
        for f in &model.functions {
            let key = (domain(&f.domain), f.name.as_str(), f.overload.as_str());
            if functions.insert(key, f).is_some() {
                return Err(ErrorKind::Model(format!("function '{}' is defined twice", f.name)));
            }
        }
        let names = graph.initializer.iter().map(|t| (t.name.as_str(), Slot::Initializer(t))).collect();
        let main = Frame {
            order: vec![],
            next: 0,
            names,
            outer: None,
            opsets: Rc::new(opsets),
            attrs: Rc::default(),
            returns: vec![],
            caller: None,
            function: None,
            prefix: "".into(),
        };
        Ok(Walk {
            builder: Builder::new(&graph.name),
            tensors,
            functions,
            frames: vec![main],
            constant: vec![],
            counted: vec![],
            inlined: 0,
            warnings: vec![],
        })
    }

    /// Adds the graph's inputs, except those that are initializers.
    pub(super) fn declare_inputs(&mut self, graph: &'m GraphProto) -> Result<Vec<InputInfo>> {
        let mut infos = vec![];
        let mut seen = FxHashSet::default();
        for input in &graph.input {
            let name = input.name.as_str();
            if !seen.insert(name) {
                return Err(ErrorKind::Model(format!("two inputs have the name '{name}'")));
            }
            if self.frames[0].names.contains_key(name) {
                continue;
            }
            let ty = input_type(input)?;
            self.builder.set_loc(&format!("input '{name}'"));
            for symbol in ty.shape.iter().filter_map(Dim::as_symbol) {
                self.builder.set_range(symbol, 0, Some(MAX_EXTENT));
            }
            let value = self.builder.input(name, ty.clone());
            self.frames[0].names.insert(name, Slot::Value(value));
            let rank0 = ty.rank() == 0;
            infos.push(InputInfo { name: name.into(), dtype: ty.dtype, dims: ty.shape, rank0 });
        }
        Ok(infos)
    }

    /// Converts all nodes that the outputs need; the outputs' names and values.
    pub(super) fn run(&mut self, graph: &'m GraphProto) -> Result<Vec<(String, ValueId)>> {
        let outputs: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        let mut seen = FxHashSet::default();
        if let Some(twice) = outputs.iter().find(|o| !seen.insert(**o)) {
            return Err(ErrorKind::Model(format!("two outputs have the name '{twice}'")));
        }
        let main = &self.frames[0];
        let nodes = order::order(&graph.node, &|n| main.names.contains_key(n), &outputs)?;
        self.check_supported(&nodes, &main.opsets)?;
        self.frames[0].order = nodes;
        self.frames[0].returns = outputs.clone();
        loop {
            let at = self.frames.len() - 1;
            let top = &mut self.frames[at];
            if let Some(&node) = top.order.get(top.next) {
                top.next += 1;
                self.step(at, node)?;
            } else if at > 0 {
                self.leave(at)?;
            } else {
                break;
            }
        }
        let mut values = vec![];
        for name in outputs {
            self.builder.set_loc(&format!("output '{name}'"));
            let value = self.resolve(0, name, "the graph's outputs")?;
            let value = value.ok_or_else(|| ErrorKind::Model(format!("output '{name}' has no value")))?;
            self.builder.output(name, value);
            values.push((name.to_string(), value));
        }
        Ok(values)
    }

    /// The values of the main graph by their names in the file.
    pub(super) fn values(&self) -> Vec<(String, ValueId)> {
        let named = |(name, slot): (&&str, &Slot<'m>)| match slot {
            Slot::Value(v) => Some((name.to_string(), *v)),
            _ => None,
        };
        self.frames.first().map_or_else(Vec::new, |main| main.names.iter().filter_map(named).collect())
    }

    /// The graph, the number of operators, and the warnings.
    pub(super) fn finish(self) -> (Graph, usize, Vec<String>) {
        let graph = self.builder.finish();
        let live = graph.live();
        let operators = self.counted.iter().filter(|values| values.iter().any(|v| live[v.index()])).count();
        (graph, operators, self.warnings)
    }

    /// The operators of these nodes, and of the functions they call, that nothing implements: all of them.
    fn check_supported(&self, nodes: &[&'m NodeProto], opsets: &Opsets<'m>) -> Result<()> {
        let mut missing: Vec<UnsupportedOp> = vec![];
        let mut visited = FxHashSet::default();
        let mut called = vec![];
        let mut look = |node: &'m NodeProto, opsets: &Opsets<'_>, prefix: &str, called: &mut Vec<_>| {
            if let Some(f) = self.function(node) {
                if visited.insert(std::ptr::from_ref(f)) {
                    called.push(f);
                }
                return;
            }
            let opset = opsets.get(domain(&node.domain)).copied();
            let Support::No(why) = ops::support(node, opset) else { return };
            let name = format!("{prefix}{}", node_name(node));
            let operator = operator_name(node);
            match missing.iter_mut().find(|m| m.operator == operator && m.opset == opset && m.why == why) {
                Some(m) => m.nodes.push(name),
                None => missing.push(UnsupportedOp { operator, opset, why, nodes: vec![name] }),
            }
        };
        nodes.iter().for_each(|n| look(n, opsets, "", &mut called));
        let mut ignored = vec![];
        while let Some(f) = called.pop() {
            let own = super::opsets(&f.opset_import, "a function", &mut ignored)?;
            let prefix = format!("{}/", f.name);
            f.node.iter().for_each(|n| look(n, &own, &prefix, &mut called));
        }
        missing.sort_by(|a, b| (&a.operator, &a.why).cmp(&(&b.operator, &b.why)));
        if missing.is_empty() { Ok(()) } else { Err(ErrorKind::Unsupported(missing)) }
    }

    fn function(&self, node: &'m NodeProto) -> Option<&'m FunctionProto> {
        let key = (domain(&node.domain), node.op_type.as_str(), node.overload.as_str());
        self.functions.get(&key).copied()
    }

    /// The value of a name as seen from a frame; `None` if an absent function input.
    fn resolve(&mut self, frame: usize, name: &str, user: &str) -> Result<Option<ValueId>> {
        let mut at = Some(frame);
        while let Some(k) = at {
            match self.frames[k].names.get_mut(name) {
                None => at = self.frames[k].outer,
                Some(Slot::Value(v)) => return Ok(Some(*v)),
                Some(Slot::Absent) => return Ok(None),
                Some(Slot::NotGiven(why)) => {
                    return Err(ErrorKind::Node {
                        node: user.into(),
                        what: format!("needs '{name}': {why}"),
                    });
                }
                Some(slot @ Slot::Initializer(_)) => {
                    let Slot::Initializer(t) = slot else { continue };
                    let value = self.builder.constant(&t.name, self.tensors.literal(t)?);
                    *slot = Slot::Value(value);
                    return Ok(Some(value));
                }
            }
        }
        Err(ErrorKind::Node { node: user.into(), what: format!("uses '{name}', which is not defined") })
    }

    /// Converts one node, or pushes the frame that stands for it.
    fn step(&mut self, at: usize, node: &'m NodeProto) -> Result<()> {
        let label = format!("{} '{}{}'", operator_name(node), self.frames[at].prefix, node_name(node));
        self.builder.set_loc(&label);
        if let Some(f) = self.function(node) {
            return self.call(at, node, f, &label);
        }
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(if name.is_empty() { None } else { self.resolve(at, name, &label)? });
        }
        let opset = self.frames[at].opsets.get(domain(&node.domain)).copied();
        let Support::Yes(row) = ops::support(node, opset) else {
            let what = "the operator is not supported".into();
            return Err(ErrorKind::Node { node: label, what });
        };
        let ops::Import::Node(import) = row.import else {
            return self.branch(at, node, &inputs, &label);
        };
        let attrs = self.frames[at].attrs.clone();
        let mut cx = NodeCx {
            b: &mut self.builder,
            node,
            label: &label,
            opset: opset.unwrap_or_default().min(ops::MAX_OPSET),
            inputs,
            attrs: &attrs,
            tensors: &mut self.tensors,
        };
        let values = import(&mut cx)?;
        self.bind(at, node, &values, &label);
        self.count(node, &values);
        Ok(())
    }

    /// Gives a node's outputs their values.
    fn bind(&mut self, at: usize, node: &'m NodeProto, values: &[ValueId], label: &str) {
        for (k, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let slot = match values.get(k) {
                Some(&v) => Slot::Value(v),
                None => Slot::NotGiven(format!("output {k} of {label} is not supported").into()),
            };
            self.frames[at].names.insert(name, slot);
        }
    }

    /// Notes which values are free of input elements, and whether the node counts as an operator.
    fn count(&mut self, node: &NodeProto, values: &[ValueId]) {
        let graph = self.builder.graph();
        for n in &graph.nodes[self.constant.len()..] {
            let known = |v: &ValueId| self.constant[v.index()] || graph.node(*v).sym.is_some();
            let constant = !matches!(n.op, Op::Input(_)) && n.inputs.iter().all(known);
            self.constant.push(constant);
        }
        let folded = |v: &ValueId| self.constant[v.index()] || graph.node(*v).sym.is_some();
        let view = domain(&node.domain).is_empty() && VIEWS.contains(&node.op_type.as_str());
        if !view && !values.iter().all(folded) {
            self.counted.push(values.to_vec());
        }
    }

    /// Starts a function's body.
    fn call(&mut self, at: usize, node: &'m NodeProto, f: &'m FunctionProto, label: &str) -> Result<()> {
        let bad = |what: String| Err(ErrorKind::Node { node: label.into(), what });
        let key = (domain(&f.domain), f.name.as_str(), f.overload.as_str());
        if self.frames.iter().any(|fr| fr.function == Some(key)) {
            return bad(format!("function '{}' calls itself, directly or through others", f.name));
        }
        if node.input.len() > f.input.len() || node.output.len() > f.output.len() {
            return bad(format!(
                "gives {} inputs and takes {} outputs, but function '{}' has {} and {}",
                node.input.len(),
                node.output.len(),
                f.name,
                f.input.len(),
                f.output.len()
            ));
        }
        self.inlined += f.node.len();
        if self.inlined > MAX_INLINED {
            return bad(format!("the model's functions expand to more than {MAX_INLINED} nodes"));
        }
        let mut names = FxHashMap::default();
        for (k, inner) in f.input.iter().enumerate() {
            let outer = node.input.get(k).map_or("", String::as_str);
            let value = if outer.is_empty() { None } else { self.resolve(at, outer, label)? };
            if names.insert(inner.as_str(), value.map_or(Slot::Absent, Slot::Value)).is_some() {
                return bad(format!("function '{}' has two inputs named '{inner}'", f.name));
            }
        }
        let mut attrs = FxHashMap::default();
        attrs.extend(f.attribute_proto.iter().map(|a| (a.name.as_str(), a)));
        for a in &node.attribute {
            let given = match a.ref_attr_name.as_str() {
                "" => Some(a),
                outer => self.frames[at].attrs.get(outer).copied(),
            };
            attrs.extend(given.map(|g| (a.name.as_str(), g)));
        }
        let returns: Vec<&str> = f.output.iter().map(String::as_str).take(node.output.len()).collect();
        let wanted: Vec<&str> =
            returns.iter().zip(&node.output).filter(|(_, o)| !o.is_empty()).map(|(r, _)| *r).collect();
        let order = order::order(&f.node, &|n| names.contains_key(n), &wanted)?;
        let opsets = opsets(&f.opset_import, &format!("function '{}'", f.name), &mut self.warnings)?;
        let prefix = format!("{}{}/", self.frames[at].prefix, node_name(node)).into();
        self.frames.push(Frame {
            order,
            next: 0,
            names,
            outer: None,
            opsets: Rc::new(opsets),
            attrs: Rc::new(attrs),
            returns,
            caller: Some(node),
            function: Some(key),
            prefix,
        });
        Ok(())
    }

    /// Starts the branch of an If whose condition is known.
    fn branch(
        &mut self,
        at: usize,
        node: &'m NodeProto,
        inputs: &[Option<ValueId>],
        label: &str,
    ) -> Result<()> {
        let bad = |what: &str| ErrorKind::Node { node: label.into(), what: what.into() };
        let condition = inputs.first().copied().flatten().ok_or_else(|| bad("has no condition"))?;
        let known = self.builder.sym(condition).and_then(|s| s.elems.first()?.as_const());
        let taken = known.ok_or_else(|| {
            bad("is supported only where its condition follows from shapes and constants; this one depends on data")
        })?;
        let name = if taken != 0 { "then_branch" } else { "else_branch" };
        let graph = node.attribute.iter().find(|a| a.name == name).and_then(|a| a.g.as_ref());
        let graph = graph.ok_or_else(|| bad(&format!("has no {name}")))?;
        let returns: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        super::check_initializers(graph)?;
        let own: FxHashMap<&str, Slot<'m>> =
            graph.initializer.iter().map(|t| (t.name.as_str(), Slot::Initializer(t))).collect();
        let order = order::order(&graph.node, &|n| own.contains_key(n) || self.visible(at, n), &returns)?;
        let opsets = self.frames[at].opsets.clone();
        self.check_supported(&order, &opsets)?;
        let top = &self.frames[at];
        let frame = Frame {
            order,
            next: 0,
            names: own,
            outer: Some(at),
            opsets,
            attrs: top.attrs.clone(),
            returns,
            caller: Some(node),
            function: None,
            prefix: top.prefix.clone(),
        };
        self.frames.push(frame);
        Ok(())
    }

    fn visible(&self, frame: usize, name: &str) -> bool {
        let mut at = Some(frame);
        while let Some(k) = at {
            if self.frames[k].names.contains_key(name) {
                return true;
            }
            at = self.frames[k].outer;
        }
        false
    }

    /// Ends a frame: its results become the outputs of the node it stands for.
    fn leave(&mut self, at: usize) -> Result<()> {
        let node = self.frames[at].caller.expect("only the main frame has no caller");
        let label = format!("{} '{}'", operator_name(node), node_name(node));
        let returns = std::mem::take(&mut self.frames[at].returns);
        for (name, inner) in node.output.iter().zip(returns) {
            if name.is_empty() {
                continue;
            }
            let value = self.resolve(at, inner, &label)?;
            self.frames[at - 1].names.insert(name, value.map_or(Slot::Absent, Slot::Value));
        }
        self.frames.pop();
        Ok(())
    }
}
