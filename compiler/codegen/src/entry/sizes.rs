//! Size arithmetic: every number that an entry point computes, each distinct one once.
//!
//! A [`Sizes`] is an arena of hash-consed nodes over the program's symbols. Nodes without symbols
//! are folded when they are made. At run time nothing wraps silently and nothing traps: whoever
//! emits nodes also gets a flag that tells whether an addition or multiplication overflowed or a
//! divisor was not positive.

use std::fmt;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I64};
use cranelift_codegen::ir::{FuncRef, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::Dim;
use fornax_ir::dim::{Atom, DimKind};
use rustc_hash::FxHashMap;

/// A node of [`Sizes`]; operands come before their uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct SizeId(u32);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Node {
    Const(i64),
    /// The value of the symbol of that number.
    Symbol(u32),
    Add(SizeId, SizeId),
    Mul(SizeId, SizeId),
    /// Towards minus infinity; the divisor is positive or the result is 0 and flagged.
    FloorDiv(SizeId, SizeId),
    Min(SizeId, SizeId),
    Max(SizeId, SizeId),
}

impl Node {
    fn operands(self) -> Option<(SizeId, SizeId)> {
        match self {
            Node::Const(_) | Node::Symbol(_) => None,
            Node::Add(a, b) | Node::Mul(a, b) | Node::FloorDiv(a, b) | Node::Min(a, b) | Node::Max(a, b) => {
                Some((a, b))
            }
        }
    }
}

/// Why a size that is known when the program is compiled has no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SizeError {
    Overflow,
    Divisor,
    /// A symbol that the program does not declare, or an axis.
    Unbound,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SizeError::Overflow => "a size overflows 64 bits",
            SizeError::Divisor => "a size divides by zero or by a negative number",
            SizeError::Unbound => "a size names something that has no value",
        })
    }
}

/// The arena.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    nodes: Vec<Node>,
    ids: FxHashMap<Node, SizeId>,
    symbols: FxHashMap<String, u32>,
}

type Made = Result<SizeId, SizeError>;

impl Sizes {
    /// Over these symbols, in order.
    pub(super) fn new<'a>(symbols: impl IntoIterator<Item = &'a str>) -> Self {
        let symbols = symbols.into_iter().map(str::to_owned).zip(0..).collect();
        Sizes { nodes: Vec::new(), ids: FxHashMap::default(), symbols }
    }

    fn node(&mut self, node: Node) -> SizeId {
        let next = SizeId(self.nodes.len() as u32);
        let id = *self.ids.entry(node).or_insert(next);
        if id == next {
            self.nodes.push(node);
        }
        id
    }

    pub(super) fn constant(&mut self, value: i64) -> SizeId {
        self.node(Node::Const(value))
    }

    /// The value, if it needs no symbol.
    pub(super) fn as_const(&self, id: SizeId) -> Option<i64> {
        match self.nodes[id.0 as usize] {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }

    fn folded(&mut self, node: Node, (a, b): (SizeId, SizeId)) -> Made {
        match (self.as_const(a), self.as_const(b)) {
            (Some(a), Some(b)) => apply(node, a, b).map(|value| self.constant(value)),
            _ => Ok(self.node(node)),
        }
    }

    pub(super) fn add(&mut self, a: SizeId, b: SizeId) -> Made {
        match (self.as_const(a), self.as_const(b)) {
            (Some(0), _) => Ok(b),
            (_, Some(0)) => Ok(a),
            _ => self.folded(Node::Add(a.min(b), a.max(b)), (a, b)),
        }
    }

    pub(super) fn mul(&mut self, a: SizeId, b: SizeId) -> Made {
        match (self.as_const(a), self.as_const(b)) {
            (Some(1), _) => Ok(b),
            (_, Some(1)) => Ok(a),
            _ => self.folded(Node::Mul(a.min(b), a.max(b)), (a, b)),
        }
    }

    pub(super) fn floor_div(&mut self, a: SizeId, b: SizeId) -> Made {
        if self.as_const(b) == Some(1) {
            return Ok(a);
        }
        self.folded(Node::FloorDiv(a, b), (a, b))
    }

    pub(super) fn min(&mut self, a: SizeId, b: SizeId) -> Made {
        if a == b { Ok(a) } else { self.folded(Node::Min(a.min(b), a.max(b)), (a, b)) }
    }

    pub(super) fn max(&mut self, a: SizeId, b: SizeId) -> Made {
        if a == b { Ok(a) } else { self.folded(Node::Max(a.min(b), a.max(b)), (a, b)) }
    }

    /// `ceil(a / by)` for a constant `by` of at least 1.
    pub(super) fn ceil_div(&mut self, a: SizeId, by: i64) -> Made {
        let (less, by) = (self.constant(by - 1), self.constant(by));
        let sum = self.add(a, less)?;
        self.floor_div(sum, by)
    }

    /// The least multiple of `to` that is at least `a`.
    pub(super) fn align(&mut self, a: SizeId, to: i64) -> Made {
        let units = self.ceil_div(a, to)?;
        let to = self.constant(to);
        self.mul(units, to)
    }

    /// A symbolic dim.
    pub(super) fn dim(&mut self, dim: &Dim) -> Made {
        let terms = match dim.kind() {
            DimKind::Const(value) => return Ok(self.constant(value)),
            DimKind::Poisoned => return Err(SizeError::Overflow),
            DimKind::Sum(terms) => terms,
        };
        let mut sum = self.constant(0);
        for (coefficient, atoms) in terms {
            let mut term = self.constant(coefficient);
            for atom in &atoms {
                let atom = self.atom(atom)?;
                term = self.mul(term, atom)?;
            }
            sum = self.add(sum, term)?;
        }
        Ok(sum)
    }

    fn atom(&mut self, atom: &Atom) -> Made {
        match atom {
            Atom::Symbol(name) => match self.symbols.get(&**name) {
                Some(&index) => Ok(self.node(Node::Symbol(index))),
                None => Err(SizeError::Unbound),
            },
            Atom::Axis(_) => Err(SizeError::Unbound),
            Atom::FloorDiv(a, b) => {
                let (a, b) = (self.dim(a)?, self.dim(b)?);
                self.floor_div(a, b)
            }
            Atom::Min(dims) => self.fold(dims, Self::min),
            Atom::Max(dims) => self.fold(dims, Self::max),
            Atom::Product(dims) => self.fold(dims, Self::mul),
        }
    }

    fn fold(&mut self, dims: &[Dim], join: fn(&mut Self, SizeId, SizeId) -> Made) -> Made {
        let mut out = None;
        for dim in dims {
            let next = self.dim(dim)?;
            out = Some(match out {
                Some(sofar) => join(self, sofar, next)?,
                None => next,
            });
        }
        out.ok_or(SizeError::Unbound)
    }

    /// Whether a node reachable from `roots` divides by something that is not constant: such
    /// divisions call a function, see [`Emitter::new`].
    pub(super) fn divides(&self, roots: &[SizeId]) -> bool {
        self.reachable(roots).iter().any(|&id| match self.nodes[id.0 as usize] {
            Node::FloorDiv(_, b) => self.as_const(b).is_none(),
            _ => false,
        })
    }

    /// All nodes that `roots` depend on, themselves included, operands first.
    fn reachable(&self, roots: &[SizeId]) -> Vec<SizeId> {
        let mut seen = vec![false; self.nodes.len()];
        let mut stack = roots.to_vec();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut seen[id.0 as usize], true)
                && let Some((a, b)) = self.nodes[id.0 as usize].operands()
            {
                stack.extend([a, b]);
            }
        }
        (0..self.nodes.len() as u32).map(SizeId).filter(|id| seen[id.0 as usize]).collect()
    }
}

/// The meaning of a binary node.
fn apply(node: Node, a: i64, b: i64) -> Result<i64, SizeError> {
    match node {
        Node::Add(..) => a.checked_add(b).ok_or(SizeError::Overflow),
        Node::Mul(..) => a.checked_mul(b).ok_or(SizeError::Overflow),
        Node::FloorDiv(..) if b <= 0 => Err(SizeError::Divisor),
        Node::FloorDiv(..) => Ok(a.div_euclid(b)),
        Node::Min(..) => Ok(a.min(b)),
        Node::Max(..) => Ok(a.max(b)),
        Node::Const(_) | Node::Symbol(_) => Err(SizeError::Unbound),
    }
}

/// Emits nodes as straight-line code, each at most once.
pub(super) struct Emitter<'s> {
    sizes: &'s Sizes,
    values: FxHashMap<SizeId, Value>,
    /// Address of the symbols' values, i64 each.
    dims: Value,
    /// i8: nonzero where something went wrong so far.
    fault: Value,
    divide: Option<FuncRef>,
}

impl<'s> Emitter<'s> {
    /// `divide` is a function `(a, b) -> floor(a / b)` for `b` of at least 1; needed if
    /// [`Sizes::divides`].
    pub(super) fn new(
        sizes: &'s Sizes,
        b: &mut FunctionBuilder<'_>,
        dims: Value,
        divide: Option<FuncRef>,
    ) -> Self {
        let fault = b.ins().iconst(I8, 0);
        Emitter { sizes, values: FxHashMap::default(), dims, fault, divide }
    }

    /// i8: nonzero if an emitted node overflowed, divided by something not positive, or was
    /// refused by [`Emitter::refuse_negative`].
    pub(super) fn fault(&self) -> Value {
        self.fault
    }

    fn flag(&mut self, b: &mut FunctionBuilder<'_>, condition: Value) {
        self.fault = b.ins().bor(self.fault, condition);
    }

    /// Flags a negative value.
    pub(super) fn refuse_negative(&mut self, b: &mut FunctionBuilder<'_>, id: SizeId) {
        if self.sizes.as_const(id).is_none_or(|c| c < 0) {
            let value = self.value(b, id);
            let negative = b.ins().icmp_imm_s(IntCC::SignedLessThan, value, 0);
            self.flag(b, negative);
        }
    }

    /// The value of a node, i64.
    pub(super) fn value(&mut self, b: &mut FunctionBuilder<'_>, id: SizeId) -> Value {
        if let Some(&value) = self.values.get(&id) {
            return value;
        }
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            let node = self.sizes.nodes[top.0 as usize];
            let missing = |id: &SizeId| !self.values.contains_key(id);
            let operands = node.operands().map_or([top, top], |(a, b)| [a, b]);
            let before = stack.len();
            stack.extend(operands.into_iter().filter(|o| *o != top && missing(o)));
            if stack.len() == before {
                stack.pop();
                if missing(&top) {
                    let value = self.emit(b, node);
                    self.values.insert(top, value);
                }
            }
        }
        self.values[&id]
    }

    fn emit(&mut self, b: &mut FunctionBuilder<'_>, node: Node) -> Value {
        let (x, y) = match node {
            Node::Const(value) => return b.ins().iconst(I64, value),
            Node::Symbol(index) => {
                return b.ins().load(I64, MemFlagsData::trusted(), self.dims, 8 * index as i32);
            }
            Node::Add(x, y) | Node::Mul(x, y) | Node::FloorDiv(x, y) | Node::Min(x, y) | Node::Max(x, y) => {
                (x, y)
            }
        };
        let (p, q) = (self.values[&x], self.values[&y]);
        match node {
            Node::Add(..) => self.add(b, p, q),
            Node::Mul(..) => self.mul(b, p, q),
            Node::Min(..) => b.ins().smin(p, q),
            Node::Max(..) => b.ins().smax(p, q),
            _ => match self.sizes.as_const(y) {
                Some(by) if by > 0 => divide_by_constant(b, p, by as u64),
                _ => self.divide(b, p, q),
            },
        }
    }

    /// `p + q`, flagged on overflow.
    pub(super) fn add(&mut self, b: &mut FunctionBuilder<'_>, p: Value, q: Value) -> Value {
        let sum = b.ins().iadd(p, q);
        // Overflow: the sum's sign differs from both operands' signs.
        let (dp, dq) = (b.ins().bxor(p, sum), b.ins().bxor(q, sum));
        let both = b.ins().band(dp, dq);
        let over = b.ins().icmp_imm_s(IntCC::SignedLessThan, both, 0);
        self.flag(b, over);
        sum
    }

    /// `p * q`, flagged on overflow.
    pub(super) fn mul(&mut self, b: &mut FunctionBuilder<'_>, p: Value, q: Value) -> Value {
        let (low, high) = (b.ins().imul(p, q), b.ins().smulhi(p, q));
        // No overflow: the high half is the sign extension of the low one.
        let sign = b.ins().sshr_imm_u(low, 63);
        let over = b.ins().icmp(IntCC::NotEqual, high, sign);
        self.flag(b, over);
        low
    }

    fn divide(&mut self, b: &mut FunctionBuilder<'_>, p: Value, q: Value) -> Value {
        let wrong = b.ins().icmp_imm_s(IntCC::SignedLessThan, q, 1);
        self.flag(b, wrong);
        let one = b.ins().iconst(I64, 1);
        let q = b.ins().smax(q, one);
        let Some(divide) = self.divide else { return b.ins().iconst(I64, 0) };
        let call = b.ins().call(divide, &[p, q]);
        b.inst_results(call)[0]
    }
}

/// `floor(x / by)` for `by >= 1` without a division.
///
/// With `s = x >> 63` (all ones where negative), `floor(x / by) = floor((x ^ s) / by) ^ s`, and
/// `0 <= x ^ s < 2^63`. For such a `y` and `2^(l-1) < by <= 2^l` the quotient is
/// `floor(m * y / 2^(63+l))` with `m = ceil(2^(63+l) / by)`, which is below `2^64`: the error of
/// `m` is less than `by <= 2^l` (Granlund and Montgomery, "Division by invariant integers using
/// multiplication", PLDI 1994, theorem 4.2 with N = 63).
fn divide_by_constant(b: &mut FunctionBuilder<'_>, x: Value, by: u64) -> Value {
    if by.is_power_of_two() {
        return b.ins().sshr_imm_u(x, i64::from(by.trailing_zeros()));
    }
    let l = 64 - by.leading_zeros();
    let magic = (1u128 << (63 + l)).div_ceil(u128::from(by)) as u64;
    let sign = b.ins().sshr_imm_u(x, 63);
    let y = b.ins().bxor(x, sign);
    let magic = b.ins().iconst(I64, magic as i64);
    let high = b.ins().umulhi(y, magic);
    let quotient = b.ins().ushr_imm_u(high, i64::from(l - 1));
    b.ins().bxor(quotient, sign)
}

/// The body of `(a, by) -> floor(a / by)` for `by >= 1`: binary long division of 63 bits, the sign
/// folded in and out as in [`divide_by_constant`]. No instruction of it can trap.
pub(super) fn floor_div_body(b: &mut FunctionBuilder<'_>) {
    let entry = b.create_block();
    let (head, done) = (b.create_block(), b.create_block());
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let (a, by) = (b.block_params(entry)[0], b.block_params(entry)[1]);
    let sign = b.ins().sshr_imm_u(a, 63);
    let y = b.ins().bxor(a, sign);
    let zero = b.ins().iconst(I64, 0);
    let bits = b.ins().iconst(I64, 63);
    // Loop state: remainder; the dividend's bits still to come, from the top, and behind them the
    // quotient's bits so far; how many are to come.
    let (rest, bits_of, left) =
        (b.append_block_param(head, I64), b.append_block_param(head, I64), b.append_block_param(head, I64));
    let quotient = b.append_block_param(done, I64);
    let top = b.ins().ishl_imm_u(y, 1);
    b.ins().jump(head, &[zero.into(), top.into(), bits.into()]);
    b.switch_to_block(head);
    let next = b.ins().ushr_imm_u(bits_of, 63);
    let doubled = b.ins().ishl_imm_u(rest, 1);
    let rest = b.ins().bor(doubled, next);
    let shifted = b.ins().ishl_imm_u(bits_of, 1);
    let less = b.ins().isub(rest, by);
    // rest < 2 * by < 2^64, so the comparison is unsigned.
    let fits = b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, rest, by);
    let rest = b.ins().select(fits, less, rest);
    let bit = b.ins().uextend(I64, fits);
    let bits_of = b.ins().bor(shifted, bit);
    let left = b.ins().iadd_imm_s(left, -1);
    b.ins().brif(left, head, &[rest.into(), bits_of.into(), left.into()], done, &[bits_of.into()]);
    b.switch_to_block(done);
    // 63 quotient bits at the bottom; the bit above them is the dividend's 64th, 0.
    let result = b.ins().bxor(quotient, sign);
    b.ins().return_(&[result]);
    b.seal_all_blocks();
}

#[cfg(test)]
mod tests;
