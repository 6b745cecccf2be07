use super::*;

const SAMPLE: &str = "leaf {
  ptr p0: f32
  ptr p1: i64
  ptr p2: u8
  ints 2
  init {
    %0 = const f32x8 -0.0
    %1 = int i64 $1
    %2 = ramp i64x4 %1
    %3 = const bool true
  }
  loop $0: p0+32, p2+$1
  loop 3:
  carry %4: f32x8 = %0, %9
  carry %5: i64 = %1, %5
  body {
    %6 = counter i64 1
    %7 = load f32x8 [p0 + -64 + $1 + %6]
    %8 = load_splat f32x8 [p0]
    %9 = fma f32x8 %7, %8, %4
    if bool %3, 1
    raise bool %3, $0
    %12 = load_if u8 %3, [p2 + %6]
    %13 = horizontal f32 max %9
    %14 = splat f32x2 %13
    %15 = ge boolx8 %7, %8
    %16 = select f32x8 %15, %7, %8
    %17 = bitcast u32x8 %16
    %18 = cast f64x8 %16
    %19 = tanh f32x8 %16
    %20 = xor u32x8 %17, %17
    %21 = lane u32 %20, 2
    %22 = pack u32x2 %21, %21
    %23 = load_strided f32x4 [p0 + 8], -2
    prefetch f32 [p0 + 4096]
    %25 = interleave f32x8 %7, %8, 1
  }
  finish {
    store f32x8 [p0 + 4], %4
    store i64 [p1], %5
    raise bool %3, 7
  }
}
";

#[test]
fn what_is_printed_is_what_was_read() {
    let leaf: Leaf = SAMPLE.parse().unwrap();
    assert_eq!(leaf.to_string(), SAMPLE);
    crate::leaf::verify::verify(&leaf).unwrap();
}

#[test]
fn errors_name_the_line_and_what_was_expected() {
    let table = [
        ("ptr p1: i64", "ptr p2: i64", "line 3: p2 where p1 is next"),
        ("carry %4: f32x8", "carry %3: f32x8", "line 14: %3 where %4 is next"),
        ("%6 = counter", "%5 = counter", "line 17: %5 where %6 is next"),
        ("cast f64x8", "cast f64y8", "line 29: `f64y8` where a type, such as f32 or f32x8, is expected"),
        ("+ $1 + %6", "+ %6 + $1", "line 18: an address is [pointer + bytes + $n + %n]"),
        ("tanh", "tan", "line 30: unknown instruction `tan`"),
        ("%12 = load_if", "load_if", "line 23: the result of load_if needs its number: %12 = load_if ..."),
        ("    store i64", "    %27 = store i64", "line 40: store has no result"),
        ("p0+32,", "p0+32", "line 12: `p2` where `,` is expected"),
        (
            "  finish {",
            "  end {",
            "line 38: `end` where ptr, ints, init, loop, carry, body, finish or } is expected",
        ),
    ];
    for (from, to, want) in table {
        let text = SAMPLE.replacen(from, to, 1);
        assert_ne!(text, SAMPLE, "{from}");
        assert_eq!(text.parse::<Leaf>().unwrap_err().to_string(), want);
    }
}
