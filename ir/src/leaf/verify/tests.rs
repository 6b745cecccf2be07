use super::*;

const GOOD: &str = "leaf {
  ptr p0: f32
  ptr p1: f32
  ints 2
  init {
    %0 = const f32x8 0.0
    %1 = int i64 $1
    %2 = const bool true
    if bool %2, 3
    %4 = load f32 [p0]
    if bool %2, 1
    store f32 [p1], %4
  }
  loop $0: p0+32, p1+$1
  carry %7: f32x8 = %0, %11
  carry %8: i64 = %1, %8
  body {
    %9 = load f32x8 [p0 + $1 + %8]
    %10 = counter i64 0
    %11 = add f32x8 %9, %7
    %12 = lt boolx8 %11, %9
    %13 = select f32x8 %12, %11, %9
    %14 = bitcast u32x8 %13
    %15 = cast f64x8 %14
    %16 = fma f64x8 %15, %15, %15
    %17 = load_if f32 %2, [p0]
    raise bool %2, $1
  }
  finish {
    %19 = horizontal f32 sum %7
    %20 = splat f32x4 %19
    %21 = ramp i64x4 %8
    %22 = lane i64 %21, 3
    %23 = pack i64x2 %22, %8
    store f32x4 [p1], %20
  }
}
";

#[test]
fn the_good_leaf_is_good() {
    verify(&GOOD.parse().unwrap()).unwrap();
}

#[test]
fn every_invariant_is_held() {
    let table = [
        (
            "  loop $0: p0+32, p1+$1\n",
            "  loop 1:\n  loop 1:\n  loop 1:\n  loop 1:\n  loop 1:\n",
            "loops: 5 loops; at most 4 nest",
        ),
        ("loop $0: p0+32", "loop $2: p0+32", "loop 0: integer argument $2 does not exist"),
        ("p0+32, p1+$1", "p0+32, p0+$1", "loop 0: pointer p0 is bumped twice"),
        ("p0+32, p1+$1", "p0+32, p2+$1", "loop 0: pointer p2 does not exist"),
        ("const f32x8", "const f32x3", "init, instruction %0: 3 lanes; a power of two up to 64 is allowed"),
        (
            "add f32x8 %9, %7",
            "add f32x8 %9, %14",
            "body, instruction %11: operand %14 is no value that is visible here",
        ),
        ("%21, 3", "%21, 4", "finish, instruction %22: lane 4 of i64x4 does not exist"),
        ("%22, %8\n", "%22, %20\n", "finish, instruction %23: operand %20 is f32x4, expected i64"),
        ("%22, %8\n", "%22\n", "finish, instruction %23: the result is declared as i64x2, but is i64"),
        ("sum %7", "sum %11", "finish, instruction %19: operand %11 is no value that is visible here"),
        (
            "add f32x8 %9, %7",
            "add f32x8 %9, %10",
            "body, instruction %11: operand %10 is i64, expected f32x8",
        ),
        (
            "add f32x8 %9, %7",
            "add f32x4 %9, %7",
            "body, instruction %11: the result is declared as f32x4, but is f32x8",
        ),
        ("add f32x8 %9, %7", "shl f32x8 %9, %7", "body, instruction %11: shl is not defined for f32"),
        ("bitcast u32x8", "bitcast u64x8", "body, instruction %14: bitcast from f32 to u64"),
        (
            "load f32x8 [p0 + $1",
            "load f64x8 [p0 + $1",
            "body, instruction %9: the pointer's dtype is f32, the access's f64",
        ),
        ("[p0 + $1 + %8]", "[p0 + $4 + %8]", "body, instruction %9: integer argument $4 does not exist"),
        ("[p0 + $1 + %8]", "[p0 + $1 + %7]", "body, instruction %9: operand %7 is f32x8, expected i64"),
        ("counter i64 0", "counter i64 1", "body, instruction %10: loop counter 1 cannot be read here"),
        ("%1 = int i64 $1", "%1 = counter i64 0", "init, instruction %1: loop counter 0 cannot be read here"),
        ("= %0, %11", "= %9, %11", "carried value %7: operand %9 is no value that is visible here"),
        ("= %0, %11", "= %0, %12", "carried value %7: operand %12 is boolx8, expected f32x8"),
        ("= %0, %11", "= %0, %19", "carried value %7: operand %19 is no value that is visible here"),
        (
            "if bool %2, 3",
            "if bool %2, 9",
            "init, instruction %3: the If covers 9 instructions, beyond what encloses it",
        ),
        (
            "if bool %2, 1",
            "if bool %2, 2",
            "init, instruction %5: the If covers 2 instructions, beyond what encloses it",
        ),
        (
            "if bool %2, 3",
            "if bool %2, 1",
            "init, instruction %6: operand %4 is defined under an If that does not enclose its use",
        ),
        (
            "splat f32x4 %19",
            "splat f32x4 %4",
            "finish, instruction %20: operand %4 is defined under an If that does not enclose its use",
        ),
        ("if bool %2, 3", "if bool %1, 3", "init, instruction %3: operand %1 is i64, expected bool"),
        (
            "load_if f32 %2",
            "load_if f64 %2",
            "body, instruction %17: the pointer's dtype is f32, the access's f64",
        ),
        (
            "raise bool %2, $1",
            "raise bool %2, $9",
            "body, instruction %18: integer argument $9 does not exist",
        ),
        (
            "fma f64x8 %15, %15, %15",
            "fma u32x8 %14, %14, %14",
            "body, instruction %16: fma is not defined for u32",
        ),
    ];
    for (from, to, want) in table {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let error = verify(&text.parse().unwrap()).expect_err(to).to_string();
        // An instruction with no result keeps its place in the numbering.
        assert_eq!(error, want, "{to}");
    }
}
