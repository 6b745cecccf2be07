use super::*;
use crate::dtype::DTYPES;
use crate::kernel::math::expand;
use crate::kernel::verify::verify;
use crate::scalar::eval;

/// Every form of the language once.
const SAMPLE: &str = r#"kernel "all \"of\" it" {
  scalars 3
  buffer b0: read f32
  buffer b1: readwrite i64
  buffer b2: write bool
  local l0: bf16[$0]
  local l1: f32[64]
  outer a0: parallel $0
  outer a1: sequential 3
  stage {
    axis a2: parallel 128
    axis a3: reduce $1
    %0 = load f32 b0[$2 + a0*$1 + a3] if [-1 + a2*-2] < $1 & [a3] < 7
    %1 = axis i64 a2
    %2 = const f32 0x7fc00001
    %3 = accumulate f32 sum interleaved %0 if [a3] < 5
    %4 = accumulate f32 max chain %0
    %5 = fma f32 %3, %4, %2
    %6 = arg i64 $2
    %7 = inrange bool if [%1*3 + %6] < 100
    %8 = select f32 %7, %5, %3
    store f32 l1[a2], %8
    store i64 b1[0], %6 if [a2] < 1
    raise bool %7, $0
    raise bool %7, 12
  }
  stage {
    %0 = const bf16 -0.0
    %1 = const u64 18446744073709551615
    %2 = const i8 -128
    %3 = const bool true
    %4 = exp bf16 %0
    %5 = pow u64 %1, %1
    %6 = ge bool %2, %2
    %7 = cast i64 %5
    %8 = bitcast f16 %4
    store bool b2[4], %6
  }
  parallel a0/16
  schedule 0: vector a2*2, rows a0*6, unroll 4, order a2 a3, block a2*3 a0*12
  schedule 1:
}
"#;

#[test]
fn what_is_printed_is_what_was_read() {
    let kernel: Kernel = SAMPLE.parse().unwrap();
    assert_eq!(kernel.to_string(), SAMPLE);
    assert_eq!(kernel.name, "all \"of\" it");
}

#[test]
fn expanded_kernels_round_trip() {
    for (op, dtype) in UnaryOp::ALL.iter().flat_map(|&o| DTYPES.iter().map(move |d| (o, d.dtype))) {
        let result = eval::unary_result(op, dtype);
        if !eval::unary_accepts(op, dtype) {
            continue;
        }
        let text = format!(
            "kernel \"one\" {{\n buffer b0: read {dtype}\n buffer b1: write {result}\n stage {{\n axis a0: parallel 8\n \
             %0 = load {dtype} b0[a0]\n %1 = {op} {result} %0\n store {result} b1[a0], %1\n }}\n}}"
        );
        let kernel: Kernel = text.parse().unwrap();
        verify(&kernel).unwrap();
        let expanded = expand(&kernel);
        verify(&expanded).unwrap();
        let again: Kernel = expanded.to_string().parse().unwrap();
        assert_eq!(again, expanded, "{expanded}");
    }
}

#[test]
fn errors_name_the_line_and_what_was_expected() {
    let table = [
        ("outer a0: parallel $0", "outer a1: parallel $0", "line 8: a1 where a0 is next"),
        ("%1 = axis", "%2 = axis", "line 14: %2 where %1 is next"),
        ("fma f32 %3, %4, %2", "fma f32 %3, %4", "line 18: the line ends where `,` is expected"),
        ("const i8 -128", "const i8 -129", "line 30: `-129` where a constant of i8 is expected"),
        ("exp bf16 %0", "expo bf16 %0", "line 32: unknown instruction `expo`"),
        ("exp bf16", "exp b16", "line 32: `b16` where a dtype is expected"),
        ("store f32 l1[a2], %8", "%9 = store f32 l1[a2], %8", "line 22: store has no result"),
        ("%4 = exp bf16 %0", "exp bf16 %0", "line 32: the result of exp needs its number: %4 = exp ..."),
        ("b1[0], %6 if", "b1[0], %6 %7", "line 23: `%7` after the end of the statement"),
        ("[a3] < 5", "[a3 + 2] < 5", "line 16: an index is an offset, then variables with strides"),
        ("read f32", "reads f32", "line 3: `reads` where read, write or readwrite is expected"),
        ("unroll 4", "unrol 4", "line 40: `unrol` where vector, rows, unroll, order or block is expected"),
        ("  schedule 1:\n}\n", "", "line 1: the kernel does not end"),
    ];
    for (from, to, want) in table {
        let text = SAMPLE.replacen(from, to, 1);
        assert_ne!(text, SAMPLE, "{from}");
        assert_eq!(text.parse::<Kernel>().unwrap_err().to_string(), want);
    }
}
