//! Leaves as text, encoded for each instruction set, against the interpreter of leaves: bit by bit.

use super::*;
use crate::image::ImageModule;
use crate::target::Cpu;
use cranelift_module::{Linkage, Module};
use fornax_ir::leaf::interp::{self, Pointer};
use fornax_ir::leaf::text::parse;
use fornax_ir::scalar::Scalar;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, OpAccess, Register};

const SETS: [Features; 2] =
    [Features { wide: false, bytes: 32, registers: 16 }, Features { wide: true, bytes: 64, registers: 32 }];

fn target(f: Features) -> Option<Target> {
    Target::host(if f.wide { Cpu::V4 } else { Cpu::V3 }).ok()
}

/// A text in which `@f32` stands for a register of f32, `@n` for the lanes of 32 bits, `@b` for a
/// register's bytes; `@bool4` and `@bool8` for masks of lanes of that width.
fn leaf(text: &str, f: Features) -> Leaf {
    let mut text = text.replace("@n", &(f.bytes / 4).to_string()).replace("@b ", &format!("{} ", f.bytes));
    for d in [DType::F32, DType::I32, DType::U32, DType::F64, DType::I64, DType::U64] {
        text = text.replace(&format!("@{d}"), &format!("{d}x{}", f.bytes / d.bytes()));
    }
    for d in [DType::I8, DType::U8, DType::I16, DType::U16] {
        text = text.replace(&format!("@{d}"), &format!("{d}x{}", f.bytes / 4));
    }
    text = text
        .replace("@m4", &format!("boolx{}", f.bytes / 4))
        .replace("@m8", &format!("boolx{}", f.bytes / 8));
    let leaves = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    fornax_ir::leaf::verify::verify(&leaves[0]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    leaves[0].clone()
}

/// Small numbers, and the corners of the dtype.
fn fill(dtype: DType, count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let corners =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e30, -3e9, 1e19, -1e19, 2147483648.0];
    let mut bytes = Vec::new();
    for _ in 0..count {
        let pick = next() as usize;
        let scalar = match (dtype.is_float(), pick % 4) {
            (true, 0) => Scalar::from_f64(dtype, corners[(pick >> 8) % corners.len()]),
            (true, _) => Scalar::from_f64(dtype, ((pick >> 8) % 4096) as f64 / 64.0 - 32.0),
            (false, 0) => Scalar::new(dtype, next()),
            (false, 1) => Scalar::new(dtype, [0, 1, u64::MAX, 1 << 31, 31, 32, 63, 64][(pick >> 8) % 8]),
            (false, _) => Scalar::from_i64(dtype, ((pick >> 8) % 64) as i64 - 32),
        };
        bytes.extend_from_slice(&scalar.bits.to_le_bytes()[..dtype.bytes()]);
    }
    bytes
}

/// Runs a leaf's function on copies of the buffers; the flag.
fn run(encoded: &Encoded, target: &Target, buffers: &mut [Vec<u8>], ints: &[i64]) -> i64 {
    let mut module = ImageModule::new(target.isa.clone(), []);
    let signature = Signature::new(CallConv::SystemV);
    let id = module.declare_function("leaf", Linkage::Export, &signature).unwrap();
    module.define_function_bytes(id, super::super::LEAF_ALIGNMENT, &encoded.code, &[]).unwrap();
    let image = module.finish().unwrap();
    let mut flag = 0i64;
    let mut block: Vec<u64> = buffers.iter_mut().map(|b| b.as_mut_ptr() as u64).collect();
    block.extend(ints.iter().map(|&n| n as u64));
    block.push(&raw mut flag as u64);
    block.resize((encoded.block as usize).div_ceil(8), 0x5a5a_5a5a_5a5a_5a5a);
    // SAFETY: a function of this signature in the image, which lives until the end.
    let entry: extern "sysv64" fn(*mut u64) = unsafe { std::mem::transmute(image.address(id).unwrap()) };
    entry(block.as_mut_ptr());
    // SAFETY: `flag` lives and was written by the call alone.
    unsafe { (&raw const flag).read_volatile() }
}

fn same(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    let value = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        Scalar::new(dtype, u64::from_le_bytes(word))
    };
    a == b || (dtype.is_float() && value(a).as_f64().is_nan() && value(b).as_f64().is_nan())
}

/// Checks a leaf in every instruction set, at several unrollings.
fn check(text: &str, elements: usize, ints: &[i64]) {
    for f in SETS {
        let leaf = leaf(text, f);
        let encoded = nest::encode(&leaf, 1, f).unwrap_or_else(|e| panic!("{e}\n{leaf}"));
        inspect(&encoded, &leaf);
        let Some(target) = target(f) else { continue };
        let start: Vec<Vec<u8>> =
            leaf.ptrs.iter().enumerate().map(|(p, &d)| fill(d, elements, 77 + 13 * p as u64)).collect();
        let mut expected = start.clone();
        let mut views: Vec<&mut [u8]> = expected.iter_mut().map(|b| &mut b[..]).collect();
        let pointers: Vec<Pointer> =
            (0..leaf.ptrs.len()).map(|buffer| Pointer { buffer, offset: 0 }).collect();
        let raised =
            interp::run(&leaf, &mut views, &pointers, ints, true).unwrap_or_else(|e| panic!("{e}\n{leaf}"));
        for unroll in [1, 4] {
            let encoded = nest::encode(&leaf, unroll, f).unwrap();
            inspect(&encoded, &leaf);
            let mut actual = start.clone();
            let flag = run(&encoded, &target, &mut actual, ints);
            assert_eq!(flag != 0, raised.is_some(), "{leaf}");
            for (p, &d) in leaf.ptrs.iter().enumerate() {
                let pairs = actual[p].chunks(d.bytes()).zip(expected[p].chunks(d.bytes()));
                for (i, (a, e)) in pairs.enumerate() {
                    assert!(
                        same(d, a, e),
                        "p{p}, element {i}: {a:x?}, expected {e:x?}, unroll {unroll}\n{leaf}"
                    );
                }
            }
        }
    }
}

/// No register that a caller keeps is written, the stack is left alone, nothing traps.
fn inspect(encoded: &Encoded, leaf: &Leaf) {
    let mut decoder = Decoder::with_ip(64, &encoded.code, 0, DecoderOptions::NONE);
    let mut facts = InstructionInfoFactory::new();
    let mut before = Code::INVALID;
    loop {
        let ins = decoder.decode();
        assert!(!ins.is_invalid(), "bytes that are no instruction\n{leaf}");
        if ins.code() == Code::Retnq {
            assert_eq!(before, Code::VEX_Vzeroupper);
            return;
        }
        let flow = matches!(
            ins.flow_control(),
            FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        );
        assert!(flow, "{:?}\n{leaf}", ins.code());
        for used in facts.info(&ins).used_registers() {
            let whole = used.register().full_register();
            let write = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
            let kept = [
                Register::RBX,
                Register::RBP,
                Register::RSP,
                Register::RDI,
                Register::R12,
                Register::R13,
                Register::R14,
                Register::R15,
            ];
            assert!(!write || !kept.contains(&whole), "{:?} writes {whole:?}\n{leaf}", ins.code());
        }
        before = ins.code();
    }
}

/// A loop over neighbours: `p0` and `p1` are read, `p2` is written.
fn lanewise(dtype: DType, to: DType, body: &str) -> String {
    let bump = |p: u32, d: DType| format!("p{p}+{}", if d == dtype { "@s" } else { "@t" });
    let text = format!(
        "leaf {{\n ptr p0: {dtype}\n ptr p1: {dtype}\n ptr p2: {to}\n ints 1\n loop $0: {}, {}, {}\n body {{\n{body} }}\n}}",
        bump(0, dtype),
        bump(1, dtype),
        bump(2, to)
    );
    text
}

fn check_lanewise(dtype: DType, to: DType, body: &str) {
    // Bumps are a register's lanes, whatever their width in memory.
    for f in SETS {
        let lanes = f.bytes / dtype.bytes().max(4);
        let text = lanewise(dtype, to, body)
            .replace("@s", &(lanes * dtype.bytes()).to_string())
            .replace("@t", &(lanes * to.bytes()).to_string());
        let leaf = leaf(&text, f);
        if nest::encode(&leaf, 1, f).is_err() {
            assert!(!f.wide, "AVX-512 has all of these\n{leaf}");
        }
    }
    for count in [0, 1, 5] {
        let lanes = |f: Features| f.bytes / dtype.bytes().max(4);
        for f in SETS {
            let text = lanewise(dtype, to, body)
                .replace("@s", &(lanes(f) * dtype.bytes()).to_string())
                .replace("@t", &(lanes(f) * to.bytes()).to_string());
            if nest::encode(&leaf(&text, f), 1, f).is_ok() {
                check_one(&text, 5 * lanes(f), &[count], f);
            }
        }
    }
}

/// [`check`] in one instruction set.
fn check_one(text: &str, elements: usize, ints: &[i64], f: Features) {
    // Texts with numbers for one width fit no other.
    let leaf = leaf(text, f);
    let Some(target) = target(f) else { return };
    let start: Vec<Vec<u8>> =
        leaf.ptrs.iter().enumerate().map(|(p, &d)| fill(d, elements, 5 + 31 * p as u64)).collect();
    let mut expected = start.clone();
    let mut views: Vec<&mut [u8]> = expected.iter_mut().map(|b| &mut b[..]).collect();
    let pointers: Vec<Pointer> = (0..leaf.ptrs.len()).map(|buffer| Pointer { buffer, offset: 0 }).collect();
    interp::run(&leaf, &mut views, &pointers, ints, true).unwrap_or_else(|e| panic!("{e}\n{leaf}"));
    for unroll in [1, 3] {
        let encoded = nest::encode(&leaf, unroll, f).unwrap();
        inspect(&encoded, &leaf);
        let mut actual = start.clone();
        run(&encoded, &target, &mut actual, ints);
        for (p, &d) in leaf.ptrs.iter().enumerate() {
            let pairs = actual[p].chunks(d.bytes()).zip(expected[p].chunks(d.bytes()));
            for (i, (a, e)) in pairs.enumerate() {
                assert!(same(d, a, e), "p{p}, element {i}: {a:x?}, expected {e:x?}, unroll {unroll}\n{leaf}");
            }
        }
    }
}

#[test]
fn operators_of_two_operands() {
    let floats = ["add", "sub", "mul", "div", "max", "min"];
    let ints = ["add", "sub", "mul", "max", "min", "and", "or", "xor", "shl", "shr"];
    let dtypes = [DType::F32, DType::F64, DType::I32, DType::U32, DType::I64, DType::U64];
    for d in dtypes {
        for op in if d.is_float() { &floats[..] } else { &ints[..] } {
            let operands = [
                format!(" %0 = load @{d} [p0]\n %1 = load @{d} [p1]\n"),
                format!(" %0 = load @{d} [p0]\n %1 = load_splat @{d} [p1]\n"),
                format!(" %0 = load @{d} [p0]\n %1 = const @{d} 3\n"),
                format!(" %0 = const @{d} 0\n %1 = load @{d} [p1]\n"),
            ];
            for operands in operands {
                let operands = if d.is_float() {
                    operands.replace(" 3\n", " -1.5\n").replace(" 0\n", " 0.0\n")
                } else {
                    operands
                };
                check_lanewise(d, d, &format!("{operands} %2 = {op} @{d} %0, %1\n store @{d} [p2], %2\n"));
            }
        }
    }
}

#[test]
fn operators_of_one_operand_comparisons_and_conversions() {
    let dtypes = [DType::F32, DType::F64, DType::I32, DType::U32, DType::I64, DType::U64];
    for d in dtypes {
        for op in if d.is_float() { &["neg", "abs", "sqrt"][..] } else { &["neg", "abs", "not"][..] } {
            let body = format!(" %0 = load @{d} [p0]\n %1 = {op} @{d} %0\n store @{d} [p2], %1\n");
            check_lanewise(d, d, &body);
        }
        let m = if d.bytes() == 4 { "@m4" } else { "@m8" };
        for op in ["eq", "ne", "lt", "le", "gt", "ge"] {
            let body = format!(
                " %0 = load @{d} [p0]\n %1 = load @{d} [p1]\n %2 = {op} {m} %0, %1\n %3 = not {m} %2\n %4 = select @{d} %3, %0, %1\n %5 = cast @{d} %2\n %6 = add @{d} %4, %5\n store @{d} [p2], %6\n"
            );
            check_lanewise(d, d, &body);
        }
        for to in dtypes.into_iter().filter(|t| t.bytes() == d.bytes()) {
            let body = format!(" %0 = load @{d} [p0]\n %1 = cast @{to} %0\n store @{to} [p2], %1\n");
            check_lanewise(d, to, &body);
            let body = format!(" %0 = load @{d} [p0]\n %1 = bitcast @{to} %0\n store @{to} [p2], %1\n");
            check_lanewise(d, to, &body);
        }
    }
    for d in [DType::I8, DType::U8, DType::I16, DType::U16] {
        for to in [DType::F32, DType::I32, DType::U32] {
            let body = format!(" %0 = load @{d} [p0]\n %1 = cast @{to} %0\n store @{to} [p2], %1\n");
            check_lanewise(d, to, &body);
        }
    }
    let nan = " %0 = load @f32 [p0]\n %1 = isnan @m4 %0\n %2 = load @f32 [p1]\n %3 = gt @m4 %2, %0\n %4 = or @m4 %1, %3\n %5 = select @f32 %4, %2, %0\n store @f32 [p2], %5\n";
    check_lanewise(DType::F32, DType::F32, nan);
}

#[test]
fn horizontals_lanes_and_packs() {
    for d in [DType::F32, DType::F64, DType::I32, DType::U32] {
        for op in ["sum", "prod", "max", "min"] {
            let text = format!(
                "leaf {{\n ptr p0: {d}\n ptr p1: {d}\n init {{\n %0 = load @{d} [p0]\n %1 = horizontal {d} {op} %0\n store {d} [p1], %1\n %3 = lane {d} %0, 3\n %4 = lane {d} %0, 0\n %5 = add {d} %3, %4\n store {d} [p1 + 8], %5\n %7 = splat @{d} %5\n store @{d} [p1 + 64], %7\n }}\n}}"
            );
            check(&text, 64, &[]);
        }
    }
    for f in SETS {
        let lanes = f.bytes / 4;
        let loads: String = (0..lanes).map(|k| format!(" %{k} = load f32 [p0 + {}]\n", 8 * k)).collect();
        let list: Vec<String> = (0..lanes).map(|k| format!("%{k}")).collect();
        let text = format!(
            "leaf {{\n ptr p0: f32\n ptr p1: f32\n init {{\n{loads} %{lanes} = pack @f32 {}\n store @f32 [p1], %{lanes}\n }}\n}}",
            list.join(", ")
        );
        check_one(&text, 64, &[], f);
    }
    // Lanes of a mask, of registers of either width.
    for f in SETS {
        for (d, lanes) in [(DType::F32, f.bytes / 4), (DType::F64, f.bytes / 8)] {
            let (mask, bytes) = (if d == DType::F32 { "@m4" } else { "@m8" }, d.bytes());
            let tests: String = (0..lanes)
                .map(|k| {
                    let (a, b, c) = (3 * k, 3 * k + 1, 3 * k + 2);
                    let at = bytes * k;
                    format!(" %{a} = load {d} [p0 + {at}]\n %{b} = load {d} [p1 + {at}]\n %{c} = lt bool %{a}, %{b}\n")
                })
                .collect();
            let list: Vec<String> = (0..lanes).map(|k| format!("%{}", 3 * k + 2)).collect();
            let [x, y, m, r] = [0, 1, 2, 3].map(|k| 3 * lanes + k);
            let text = format!(
                "leaf {{\n ptr p0: {d}\n ptr p1: {d}\n ptr p2: {d}\n init {{\n{tests} %{x} = load @{d} [p0]\n %{y} = load @{d} [p1]\n %{m} = pack {mask} {}\n %{r} = select @{d} %{m}, %{x}, %{y}\n store @{d} [p2], %{r}\n }}\n}}",
                list.join(", ")
            );
            check_one(&text, 64, &[], f);
        }
    }
}

#[test]
fn loads_of_strided_indexed_and_partial_neighbours() {
    for by in [2, 3, -1, -2, 7] {
        let from = if by < 0 { 512 } else { 0 };
        let text = format!(
            "leaf {{\n ptr p0: f32\n ptr p1: f32\n init {{\n %0 = load_strided f32x@n [p0 + {from}], {by}\n store f32x@n [p1], %0\n }}\n}}"
        );
        check(&text, 256, &[]);
    }
    let indexed = "leaf {\n ptr p0: f32\n ptr p1: f32\n ints 2\n loop $0: p1+@b \n body {\n %0 = int i64 $1\n %1 = counter i64 0\n %2 = add i64 %0, %1\n %3 = const i64 4\n %4 = mul i64 %2, %3\n %5 = load @f32 [p0 + %4]\n %6 = lt bool %1, %3\n %7 = load_if @f32 %6, [p0 + 4 + $1]\n %8 = fma @f32 %5, %5, %7\n store @f32 [p1], %8\n raise bool %6, 3\n }\n}";
    check(&indexed.replace("load @f32 [p0 + %4]", "load @f32 [p0 + 0 + %4]"), 256, &[7, 8]);
    for d in ["f32", "i64"] {
        for count in [-3, 0, 1, 5, 8, 11, 100] {
            let text = format!(
                "leaf {{\n ptr p0: {d}\n ptr p1: {d}\n ints 1\n init {{\n %0 = int i64 $0\n %1 = load_part @{d} [p0], %0\n }}\n loop 3: p0+8\n carry %2: @{d} = %1, %4\n body {{\n %3 = load_part @{d} [p0], %0\n %4 = add @{d} %2, %3\n }}\n finish {{\n store_part @{d} [p1], %2, %0\n }}\n}}"
            );
            check(&text, 40, &[count]);
        }
    }
}

/// Accumulators of so many rows by columns, more than there are registers in the larger ones.
fn tile(rows: usize, columns: usize, epilogue: bool, f: Features) -> String {
    let lanes = f.bytes / 4;
    let first = 1;
    let body = first + rows * columns;
    let mut text = "leaf {\n ptr p0: f32\n ptr p1: f32\n ptr p2: f32\n ints 1\n init {\n %0 = const @f32 0.0\n }\n loop $0: p0+4, p1+512\n".to_owned();
    let mut lines = String::new();
    let mut next = body;
    let mut columns_at = Vec::new();
    let mut nexts = Vec::new();
    for r in 0..rows {
        lines += &format!(" %{next} = load_splat @f32 [p0 + {}]\n", 64 * r);
        let a = next;
        next += 1;
        for c in 0..columns {
            if r == 0 {
                lines += &format!(" %{next} = load @f32 [p1 + {}]\n", c * f.bytes);
                columns_at.push(next);
                next += 1;
            }
            lines += &format!(" %{next} = fma @f32 %{a}, %{}, %{}\n", columns_at[c], first + r * columns + c);
            nexts.push(next);
            next += 1;
        }
    }
    for (i, n) in nexts.iter().enumerate() {
        text += &format!(" carry %{}: @f32 = %0, %{n}\n", first + i);
    }
    text += &format!(" body {{\n{lines} }}\n finish {{\n");
    for i in 0..rows * columns {
        if epilogue {
            text += &format!(
                " %{next} = load @f32 [p1 + {}]\n %{} = add @f32 %{}, %{next}\n %{} = max @f32 %{}, %0\n store @f32 [p2 + {}], %{}\n",
                4 * i,
                next + 1,
                first + i,
                next + 2,
                next + 1,
                4 * lanes * i,
                next + 2
            );
            next += 4;
        } else {
            text += &format!(" store @f32 [p2 + {}], %{}\n", 4 * lanes * i, first + i);
            next += 1;
        }
    }
    text + " }\n}"
}

#[test]
fn tiles_of_accumulators_and_what_keeps_them_in_registers() {
    for f in SETS {
        for (rows, columns) in [(1, 1), (6, 2), (14, 2), (3, 3), (16, 3)] {
            for epilogue in [false, true] {
                let text = tile(rows, columns, epilogue, f);
                for count in [0, 1, 9] {
                    check_one(&text, 4096, &[count], f);
                }
            }
        }
        let (rows, columns) = if f.wide { (14, 2) } else { (6, 2) };
        let leaf = leaf(&tile(rows, columns, false, f), f);
        let encoded = nest::encode(&leaf, 1, f).unwrap();
        // The innermost loop lies before the last backward branch.
        let mut decoder = Decoder::with_ip(64, &encoded.code, 0, DecoderOptions::NONE);
        let (mut body, mut found) = (Vec::new(), None);
        while found.is_none() {
            let ins = decoder.decode();
            if ins.flow_control() == FlowControl::ConditionalBranch && ins.near_branch_target() < ins.ip() {
                found = Some(ins.near_branch_target());
            }
            body.push(ins);
        }
        let round: Vec<_> = body.iter().filter(|ins| Some(ins.ip()) >= found).collect();
        let expected = rows * columns + rows + columns + 4;
        assert_eq!(round.len(), expected, "loads, multiply-adds, two pointers, the counter, its branch");
    }
}

#[test]
fn values_that_outnumber_the_registers_are_kept_in_the_block() {
    // Forty loads that are all used last in the opposite order.
    let loads: String = (0..40).map(|k| format!(" %{k} = load @f32 [p0 + {}]\n", 4 * k)).collect();
    let mut text = format!("leaf {{\n ptr p0: f32\n ptr p1: f32\n init {{\n{loads}");
    text += " %40 = sub @f32 %39, %38\n";
    for k in 0..38 {
        text += &format!(" %{} = sub @f32 %{}, %{}\n", 41 + k, 40 + k, 37 - k);
    }
    text += " %79 = add @f32 %78, %0\n store @f32 [p1], %79\n }\n}";
    check(&text, 256, &[]);
    // Conditions around which registers change hands.
    let guarded = format!(
        "leaf {{\n ptr p0: f32\n ptr p1: f32\n ints 2\n init {{\n %0 = const i64 2\n{} %41 = int i64 $0\n %42 = lt bool %41, %0\n if bool %42, 42\n{}{} store @f32 [p1 + 64], %84\n",
        (0..40).map(|k| format!(" %{} = load @f32 [p0 + {}]\n", k + 1, 4 * k)).collect::<String>(),
        (0..40).map(|k| format!(" %{} = mul @f32 %{}, %{}\n", 44 + k, k + 1, 40 - k)).collect::<String>(),
        " %84 = add @f32 %83, %44\n",
    );
    let mut text = guarded;
    text += " %86 = add @f32 %1, %2\n";
    for k in 0..38 {
        text += &format!(" %{} = add @f32 %{}, %{}\n", 87 + k, 86 + k, 3 + k);
    }
    text += " store @f32 [p1], %124\n }\n}";
    for flag in [1, 5] {
        check(&text, 256, &[flag, 0]);
    }
}

/// More masks than registers, beside those of partial loads.
#[test]
fn masks_that_outnumber_the_registers_are_kept_in_the_block() {
    let masks = (0..9).map(|k| {
        format!(" %{} = load @f32 [p0 + {}]\n %{} = gt @m4 %{}, %0\n", 2 * k + 2, 4 * k, 2 * k + 3, 2 * k + 2)
    });
    let uses =
        (0..9).map(|k| format!(" %{} = select @f32 %{}, %{}, %{}\n", k + 21, 19 - 2 * k, k + 20, 2 * k + 2));
    let text = format!(
        "leaf {{\n ptr p0: f32\n ptr p1: f32\n ints 1\n init {{\n %0 = const @f32 0.0\n %1 = int i64 $0\n{} }}\n loop 2: p1+4\n body {{\n %20 = load_part @f32 [p1], %1\n{} store_part @f32 [p1], %29, %1\n }}\n}}",
        masks.collect::<String>(),
        uses.collect::<String>()
    );
    check(&text, 64, &[7]);
}

#[test]
fn nested_loops_restore_their_pointers() {
    let text = "leaf {\n ptr p0: f32\n ptr p1: f32\n ptr p2: f32\n ptr p3: f32\n ptr p4: f32\n ptr p5: f32\n ptr p6: f32\n ints 3\n init {\n %0 = const @f32 1.0\n %1 = load @f32 [p6]\n }\n loop $0: p0+16, p5+$2\n loop $1: p1+4, p0+4, p6+8\n loop 3: p2+4, p3+$2, p4+4, p6+4\n carry %2: @f32 = %0, %3\n carry %3: @f32 = %1, %17\n body {\n %4 = load @f32 [p0]\n %5 = load_splat @f32 [p1]\n %6 = load @f32 [p2 + 8]\n %7 = load @f32 [p3]\n %8 = load_splat @f32 [p4]\n %9 = load @f32 [p5]\n %10 = load @f32 [p6]\n %11 = fma @f32 %4, %5, %6\n %12 = sub @f32 %11, %7\n %13 = fma @f32 %8, %9, %12\n %14 = add @f32 %13, %10\n %15 = mul @f32 %14, %0\n %16 = add @f32 %15, %2\n %17 = min @f32 %16, %3\n }\n finish {\n store @f32 [p5], %2\n store @f32 [p4 + 128], %3\n }\n}";
    for ints in [[2, 3, 12], [0, 3, 4], [3, -1, 4], [1, 1, 0]] {
        check(text, 256, &ints);
    }
}

#[test]
fn memory_is_asked_for_once_a_line_wherever_it_is() {
    let text = "leaf {\n ptr p0: f32\n ptr p1: f32\n ptr p2: f32\n ints 1\n loop $0: p0+@b , p1+16\n body {\n\
                %0 = load @f32 [p0]\n prefetch f32 [p1 + 1099511627776]\n prefetch f32 [p1 + -4096]\n }\n\
                finish {\n %3 = const f32 1.0\n store f32 [p2], %3\n }\n}";
    check(text, 256, &[9]);
    for (unroll, asked) in [(1, 2), (4, 4)] {
        // In groups of four rounds 16 bytes apart the first asks for each of the two places, then rounds left over do.
        let encoded = nest::encode(&leaf(text, SETS[1]), unroll, SETS[1]).unwrap();
        let decoder = Decoder::new(64, &encoded.code, DecoderOptions::NONE);
        let until = decoder.into_iter().take_while(|i| i.code() != Code::Retnq);
        assert_eq!(until.filter(|i| i.code() == Code::Prefetcht1_m8).count(), asked, "unroll {unroll}");
    }
}

#[test]
fn lanes_of_two_registers_by_turns() {
    for dtype in ["f32", "i32"] {
        let text = format!(
            "leaf {{\n ptr p0: {dtype}\n ptr p1: {dtype}\n body {{\n%0 = load @{dtype} [p0]\n %1 = load @{dtype} [p0 + @b ]\n \
             %2 = interleave @{dtype} %0, %1, 0\n %3 = interleave @{dtype} %0, %1, 1\n store @{dtype} [p1], %2\n \
             store @{dtype} [p1 + @b ], %3\n }}\n}}"
        );
        check(&text, 64, &[]);
    }
}
