//! Branches and loops.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{Block, FuncRef, InstBuilder, MemFlagsData, Value};
use fornax_runtime::abi::FNX_CANCELLED;

use super::super::code::frame;
use super::Segment;
use crate::program::{Carried, Place, Step};

impl Segment<'_, '_> {
    /// A step with steps inside, whose segments are `blocks`.
    pub(super) fn control(&mut self, step: &Step, blocks: &[Vec<FuncRef>]) {
        match (step, blocks) {
            (Step::Cond { pred, .. }, [then, otherwise]) => self.cond(*pred, then, otherwise),
            (Step::While { pred, carried, .. }, [cond, body]) => {
                self.enter(carried);
                self.while_loop(*pred, cond, body, carried);
            }
            (Step::Scan { reverse, counter, carried, .. }, [body]) => {
                self.enter(carried);
                self.scan(*reverse, *counter, body, carried);
            }
            _ => {}
        }
    }

    /// Calls segments one after the other.
    fn run(&mut self, segments: &[FuncRef]) {
        for &segment in segments {
            let call = self.b.ins().call(segment, &[self.bases.args, self.bases.frame]);
            self.leave_unless_ok(call);
        }
    }

    /// Branches by the byte at a place.
    fn branch(&mut self, pred: Place, then: Block, otherwise: Block) {
        let at = self.place(pred);
        let truth = self.b.ins().load(I8, MemFlagsData::trusted(), at, 0);
        self.b.ins().brif(truth, then, &[], otherwise, &[]);
    }

    fn cond(&mut self, pred: Place, then: &[FuncRef], otherwise: &[FuncRef]) {
        let [on_true, on_false, done] = [(); 3].map(|()| self.b.create_block());
        self.branch(pred, on_true, on_false);
        for (block, segments) in [(on_true, then), (on_false, otherwise)] {
            self.b.switch_to_block(block);
            self.run(segments);
            self.b.ins().jump(done, &[]);
        }
        self.b.switch_to_block(done);
    }

    fn while_loop(&mut self, pred: Place, cond: &[FuncRef], body: &[FuncRef], carried: &[Carried]) {
        let [head, inside, done] = [(); 3].map(|()| self.b.create_block());
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        self.poll();
        self.run(cond);
        self.branch(pred, inside, done);
        self.b.switch_to_block(inside);
        self.run(body);
        self.advance(carried);
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(done);
    }

    fn scan(&mut self, reverse: bool, counter: u32, body: &[FuncRef], carried: &[Carried]) {
        let [head, inside, done] = [(); 3].map(|()| self.b.create_block());
        let i = self.b.append_block_param(head, I64);
        let length = self.size(self.layout.lengths[counter as usize]);
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().jump(head, &[zero.into()]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, length);
        self.b.ins().brif(more, inside, &[], done, &[]);
        self.b.switch_to_block(inside);
        self.poll();
        let at = if reverse {
            let behind = self.b.ins().isub(length, i);
            self.b.ins().iadd_imm_s(behind, -1)
        } else {
            i
        };
        self.b.ins().store(MemFlagsData::trusted(), at, self.bases.frame, frame::counter(counter));
        self.run(body);
        self.advance(carried);
        let next = self.b.ins().iadd_imm_s(i, 1);
        self.b.ins().jump(head, &[next.into()]);
        self.b.switch_to_block(done);
    }

    /// Leaves if the run is cancelled: a loop need not make calls, which would look.
    fn poll(&mut self) {
        let flags = MemFlagsData::trusted();
        let word = self.b.ins().load(self.ptr, flags, self.bases.frame, frame::CANCEL);
        let cancelled = self.b.ins().load(I32, flags, word, 0);
        let code = self.b.ins().iconst(I32, i64::from(FNX_CANCELLED));
        let next = self.b.create_block();
        self.b.ins().brif(cancelled, self.leave, &[code.into()], next, &[]);
        self.b.switch_to_block(next);
    }

    fn point(&mut self, variable: u32, to: Value) {
        let at = frame::variable(self.program, variable);
        self.b.ins().store(MemFlagsData::trusted(), to, self.bases.frame, at);
    }

    /// Variables before the first iteration.
    fn enter(&mut self, carried: &[Carried]) {
        for c in carried {
            let (first, buffer) = (self.place(c.first), self.place(Place::Slot(c.buffers[0])));
            self.point(c.now, first);
            self.point(c.next, buffer);
        }
    }

    /// Variables between iterations.
    fn advance(&mut self, carried: &[Carried]) {
        for c in carried {
            let made = self.place(Place::Variable(c.next));
            let [a, b] = c.buffers.map(|slot| self.place(Place::Slot(slot)));
            // The one of the two that is not `made`.
            let both = self.b.ins().bxor(a, b);
            let other = self.b.ins().bxor(both, made);
            self.point(c.now, made);
            self.point(c.next, other);
        }
    }

    /// The address of a slice.
    pub(super) fn slice(&mut self, n: u32) -> Value {
        let slice = &self.program.slices[n as usize];
        let base = self.place(slice.of);
        let counter = frame::counter(slice.counter);
        let counter = self.b.ins().load(I64, MemFlagsData::trusted(), self.bases.frame, counter);
        let stride = self.size(self.layout.strides[n as usize]);
        let offset = self.b.ins().imul(counter, stride);
        self.b.ins().iadd(base, offset)
    }
}
