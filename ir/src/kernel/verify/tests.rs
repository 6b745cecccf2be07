use super::*;

const GOOD: &str = r#"kernel "k" {
  scalars 2
  buffer b0: read f32
  buffer b1: write f32
  buffer b2: read i64
  local l0: f32[$0]
  outer a0: parallel $0
  outer a1: sequential 4
  stage {
    axis a2: parallel 8
    axis a3: sequential 8
    axis a4: reduce $1
    %0 = load f32 b0[a0*$1 + a4]
    %1 = load i64 b2[a2]
    %2 = load f32 b0[%1] if [%1] < 9
    %3 = mul f32 %0, %2
    %4 = accumulate f32 sum interleaved %3
    %5 = exp f32 %4
    %6 = lt bool %4, %5
    %7 = select f32 %6, %4, %5
    store f32 l0[a2], %7
    raise bool %6, $1
  }
  stage {
    axis a2: parallel 8
    %0 = load f32 l0[a2]
    %1 = bitcast u32 %0
    %2 = not u32 %1
    %3 = cast f32 %2
    %4 = fma f32 %0, %3, %0
    store f32 b1[a0], %4
  }
  parallel a0/1
  schedule 0: vector a4*2, rows a2*4, order a3 a2 a4
  schedule 1: vector a2*2, rows a0*4
}
"#;

#[test]
fn the_good_kernel_is_good() {
    verify(&GOOD.parse().unwrap()).unwrap();
}

#[test]
fn every_invariant_is_held() {
    let table = [
        ("l0: f32[$0]", "l0: f32[$2]", "header: scalar argument $2 does not exist; there are 2"),
        ("l0: f32[$0]", "l0: f32[-1]", "header: a size is negative: -1"),
        ("outer a1: sequential 4", "outer a1: reduce 4", "header: outer axis 1 is a reduce axis"),
        ("axis a2: parallel 8", "axis a2: reduce 8", "stage 0: axis 3 follows a reduce axis and is none"),
        (
            "%4 = accumulate f32 sum interleaved %3",
            "%4 = neg f32 %3",
            "stage 0: the stage has reduce axes and accumulates nothing",
        ),
        (
            "mul f32 %0, %2",
            "mul f32 %0, %3",
            "stage 0, instruction %3: operand %3 is no value of an earlier instruction",
        ),
        (
            "raise bool %6",
            "raise bool %8",
            "stage 0, instruction %9: operand %8 is no value of an earlier instruction",
        ),
        ("raise bool %6", "raise bool %5", "stage 0, instruction %9: operand %5 is f32, expected bool"),
        ("b0[a0*$1 + a4]", "b0[a0*$1 + a5]", "stage 0, instruction %0: axis 5 does not exist in this stage"),
        ("b0[a0*$1 + a4]", "b3[a0*$1 + a4]", "stage 0, instruction %0: buffer b3 does not exist"),
        ("b0[a0*$1 + a4]", "b1[a0*$1 + a4]", "stage 0, instruction %0: buffer b1 may only be stored to"),
        ("store f32 b1", "store f32 b0", "stage 1, instruction %5: buffer b0 may only be loaded from"),
        ("mul f32 %0, %2", "mul f32 %0, %1", "stage 0, instruction %3: operand %1 is i64, expected f32"),
        (
            "%5 = exp f32 %4",
            "%5 = exp f64 %4",
            "stage 0, instruction %5: the result is declared as f64, but is f32",
        ),
        ("%2 = not u32 %1", "%2 = exp u32 %1", "stage 1, instruction %2: exp is not defined for u32"),
        ("%1 = bitcast u32 %0", "%1 = bitcast u64 %0", "stage 1, instruction %1: bitcast from f32 to u64"),
        ("fma f32 %0, %3, %0", "fma u32 %1, %2, %1", "stage 1, instruction %4: fma is not defined for u32"),
        ("b0[%1]", "b0[%0]", "stage 0, instruction %2: operand %0 is f32, expected i64"),
        ("[%1] < 9", "[%1] < $7", "stage 0, instruction %2: scalar argument $7 does not exist; there are 2"),
        (
            "b0[a0*$1 + a4]",
            "b0[a4 + a0*$1]",
            "stage 0, instruction %0: the terms of an index are not sorted by different variables",
        ),
        (
            "b0[a0*$1 + a4]",
            "b0[a0 + a0]",
            "stage 0, instruction %0: the terms of an index are not sorted by different variables",
        ),
        ("b0[a0*$1 + a4]", "b0[a0*0 + a4]", "stage 0, instruction %0: an index has a stride of 0"),
        (
            "%5 = exp f32 %4",
            "%5 = accumulate f32 sum interleaved %4",
            "stage 0, instruction %5: the accumulation depends on another accumulation of its stage",
        ),
        (
            "select f32 %6, %4, %5",
            "select f32 %6, %4, %0",
            "stage 0, instruction %7: it depends on an accumulation and on a reduce axis",
        ),
        (
            "store f32 l0[a2], %7",
            "store f32 l0[a4], %7",
            "stage 0, instruction %8: the store depends on a reduce axis",
        ),
        (
            "store f32 l0[a2], %7",
            "store f32 l0[a2], %0",
            "stage 0, instruction %8: the store depends on a reduce axis",
        ),
        ("  schedule 1: vector a2*2, rows a0*4\n", "", "schedule: 1 stage schedules for 2 stages"),
        ("parallel a0/1", "parallel a1/1", "schedule: axis 1 cannot be the parallel axis"),
        ("parallel a0/1", "parallel a2/1", "schedule: axis 2 cannot be the parallel axis"),
        ("parallel a0/1", "parallel a0/1, a0/1", "schedule: axis 0 cannot be the parallel axis"),
        ("parallel a0/1", "parallel a0/0", "schedule: a count or chunk of 0; it must be at least 1"),
        ("vector a4*2", "vector a3*2", "schedule of stage 0: axis 3 cannot be the vector axis"),
        ("vector a4*2", "vector a9*2", "schedule of stage 0: axis 9 cannot be the vector axis"),
        ("vector a4*2", "vector a4*0", "schedule of stage 0: a count or chunk of 0; it must be at least 1"),
        ("vector a2*2, rows a0*4", "vector a1*2", "schedule of stage 1: axis 1 cannot be the vector axis"),
        (
            "vector a2*2, rows a0*4",
            "vector a2*2, rows a2*4",
            "schedule of stage 1: vector and rows are both axis 2",
        ),
        ("rows a2*4", "rows a4*4", "schedule of stage 0: axis 4 cannot be the rows axis"),
        (
            "sum interleaved",
            "sum chain",
            "schedule of stage 0: axis 4 is vectorised, but an accumulation along it is a chain of floats",
        ),
        (
            "order a3 a2 a4",
            "order a3 a4 a2",
            "schedule of stage 0: the order [3, 4, 2] is no legal permutation of the stage's axes",
        ),
        (
            "rows a2*4, order a3 a2 a4",
            "rows a2*4, order a3 a2 a4, block a2*8",
            "schedule of stage 0: blocks [(2, 8)] of other axes than parallel ones and rows last, of no whole tiles, \
             or without a load to copy",
        ),
        (
            "order a3 a2 a4",
            "order a3 a4",
            "schedule of stage 0: the order [3, 4] is no legal permutation of the stage's axes",
        ),
    ];
    for (from, to, want) in table {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let error = verify(&text.parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, format!("kernel `k`, {want}"), "{to}");
    }
}

#[test]
fn maxima_may_be_chains_along_a_vector_axis() {
    verify(&GOOD.replacen("sum interleaved", "max chain", 1).parse().unwrap()).unwrap();
}

#[test]
fn too_many_axes_are_refused() {
    let axis = crate::kernel::Axis { extent: Size::ONE, kind: AxisKind::Parallel };
    let mut kernel = Kernel { outer: vec![axis; 65], ..Kernel::default() };
    kernel.stages.push(Stage::default());
    kernel.schedule.stages.push(StageSchedule::default());
    let fault = verify(&kernel).unwrap_err().fault;
    assert_eq!(fault, Fault::TooManyAxes(65));
}
