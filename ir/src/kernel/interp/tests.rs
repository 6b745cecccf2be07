use super::*;

fn kernel(body: &str) -> Kernel {
    format!("kernel \"k\" {{\n{body}\n}}").parse().unwrap()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|c| f32::from_ne_bytes(c.try_into().unwrap())).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

/// Runs a kernel whose first buffer is f32 input and whose second one is f32 output.
fn one_to_one(
    body: &str,
    input: &[f32],
    len: usize,
    scalars: &[i64],
    options: Options,
) -> Result<Vec<f32>, KernelError> {
    let (mut input, mut output) = (bytes(input), vec![0; len * 4]);
    let text = format!("buffer b0: read f32\nbuffer b1: write f32\n{body}");
    let raised = run(&kernel(&text), &mut [&mut input, &mut output], scalars, options)?;
    assert_eq!(raised, None);
    Ok(f32s(&output))
}

#[test]
fn sums_follow_their_order() {
    let values: Vec<f32> = (0..75).map(|i| (i * 7919 % 1000) as f32 / 7.0).collect();
    let chain = values.iter().fold(0f32, |a, v| a + v);
    let mut partials = [0f32; 32];
    values.iter().enumerate().for_each(|(i, v)| partials[i % 32] += v);
    for half in [16, 8, 4, 2, 1] {
        for p in 0..half {
            partials[p] += partials[p + half];
        }
    }
    assert_ne!(chain, partials[0]);
    for (order, want) in [("chain", chain), ("interleaved", partials[0])] {
        // Two axes, of which the last is the faster one.
        let body = format!(
            "stage {{\n axis a0: reduce 5\n axis a1: reduce 15\n %0 = load f32 b0[a0*15 + a1]\n \
             %1 = accumulate f32 sum {order} %0\n store f32 b1[0], %1\n}}"
        );
        assert_eq!(one_to_one(&body, &values, 1, &[], Options::default()).unwrap(), [want]);
    }
}

#[test]
fn masked_elements_are_left_out_and_masked_loads_are_zero() {
    let body = "scalars 1\nstage {\n axis a0: parallel 2\n axis a1: reduce 4\n %0 = load f32 b0[a0*3 + a1] if [a1] < 3\n \
                %1 = accumulate f32 sum chain %0\n %2 = accumulate f32 max chain %0 if [a1] < $0\n \
                store f32 b1[a0*2], %1\n store f32 b1[1 + a0*2], %2\n}";
    let input = [1.0, 2.0, 3.0, -4.0, -5.0, -6.0];
    let got = one_to_one(body, &input, 4, &[3], Options::default()).unwrap();
    assert_eq!(got, [6.0, 3.0, -15.0, -4.0]);
    let got = one_to_one(body, &input, 4, &[0], Options::default()).unwrap();
    assert_eq!(got[1], f32::NEG_INFINITY);
}

const SOFTMAX: &str = "scalars 1\nlocal l0: f32[1]\nlocal l1: f32[$0]\nouter a0: parallel 2\n\
    stage {\n axis a1: reduce $0\n %0 = load f32 b0[a0*$0 + a1]\n %1 = accumulate f32 max chain %0\n store f32 l0[0], %1\n}\n\
    stage {\n axis a1: parallel $0\n %0 = load f32 b0[a0*$0 + a1]\n %1 = load f32 l0[0]\n %2 = sub f32 %0, %1\n \
        %3 = exp f32 %2\n store f32 l1[a1], %3\n}\n\
    stage {\n axis a1: reduce $0\n %0 = load f32 l1[a1]\n %1 = accumulate f32 sum interleaved %0\n store f32 l0[0], %1\n}\n\
    stage {\n axis a1: parallel $0\n %0 = load f32 l1[a1]\n %1 = load f32 l0[0]\n %2 = div f32 %0, %1\n store f32 b1[a0*$0 + a1], %2\n}";

#[test]
fn stages_meet_in_locals() {
    let input = [0.0, 1.0, 2.0, 5.0, 5.0, 5.0];
    let got = one_to_one(SOFTMAX, &input, 6, &[3], Options::default()).unwrap();
    let sum: f64 = (0..3).map(|i| (i as f64).exp()).sum();
    for i in 0..3 {
        assert!((got[i] as f64 - (i as f64).exp() / sum).abs() < 1e-7);
        assert!((got[3 + i] - 1.0 / 3.0).abs() < 1e-7);
    }
}

#[test]
fn the_expanded_softmax_differs_by_rounding_alone() {
    let text = format!("buffer b0: read f32\nbuffer b1: write f32\n{SOFTMAX}");
    let expanded = super::super::math::expand(&kernel(&text));
    let (mut input, mut output) = (bytes(&[0.3, 1.0, -2.0, 5.0, 4.0, 3.0]), vec![0; 24]);
    run(&expanded, &mut [&mut input, &mut output], &[3], Options { fma: true, contract: true }).unwrap();
    let want = one_to_one(SOFTMAX, &f32s(&input), 6, &[3], Options::default()).unwrap();
    for (got, want) in f32s(&output).iter().zip(want) {
        assert!((got - want).abs() <= 3e-7 * want, "{got} {want}");
    }
}

#[test]
fn sequential_axes_see_what_earlier_points_stored() {
    let text = "buffer b0: read f32\nbuffer b1: readwrite f32\nstage {\n axis a0: sequential 4\n \
                %0 = load f32 b0[a0]\n %1 = load f32 b1[-1 + a0] if [-1 + a0] < 4\n %2 = add f32 %0, %1\n store f32 b1[a0], %2\n}";
    let (mut input, mut output) = (bytes(&[1.0, 2.0, 3.0, 4.0]), vec![0; 16]);
    run(&kernel(text), &mut [&mut input, &mut output], &[], Options::default()).unwrap();
    assert_eq!(f32s(&output), [1.0, 3.0, 6.0, 10.0]);
}

#[test]
fn a_gather_reads_where_its_index_points_and_raises_the_first_detail() {
    let text = "scalars 1\nbuffer b0: read i64\nbuffer b1: read f32\nbuffer b2: write f32\nstage {\n axis a0: parallel 3\n \
                %0 = load i64 b0[a0]\n %1 = inrange bool if [%0] < 2\n %2 = not bool %1\n raise bool %2, $0\n raise bool %2, 7\n \
                %5 = load f32 b1[%0] if [%0] < 2\n store f32 b2[a0], %5\n}";
    let mut indices: Vec<u8> = [1i64, 5, 0].iter().flat_map(|v| v.to_ne_bytes()).collect();
    let (mut table, mut output) = (bytes(&[10.0, 20.0]), vec![1; 12]);
    let raised = run(&kernel(text), &mut [&mut indices, &mut table, &mut output], &[42], Options::default());
    assert_eq!(raised, Ok(Some(42)));
    assert_eq!(f32s(&output), [20.0, 0.0, 10.0]);
}

#[test]
fn accesses_out_of_bounds_are_errors_that_name_the_instruction() {
    let body = "stage {\n axis a0: parallel 4\n %0 = load f32 b0[2 + a0*-1]\n store f32 b1[a0], %0\n}";
    let error = one_to_one(body, &[1.0; 4], 4, &[], Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "kernel `k`, stage 0, instruction %0: element -1 of b0, which has 4");
    let error = one_to_one(body, &[1.0; 4], 2, &[], Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "kernel `k`, stage 0, instruction %1: element 2 of b1, which has 2");
}

#[test]
fn arguments_are_counted() {
    let text = kernel("scalars 1\nlocal l0: f32[$0]\nbuffer b0: read f32");
    let table: [(&[i64], usize, &str); 3] = [
        (&[], 1, "kernel `k` takes 1 scalars, not 0"),
        (&[3], 0, "kernel `k` takes 1 buffers, not 0"),
        (&[-3], 1, "kernel `k`: local l0 has length -3"),
    ];
    for (scalars, buffers, want) in table {
        let mut empty = [];
        let mut list: Vec<&mut [u8]> = vec![];
        if buffers == 1 {
            list.push(&mut empty);
        }
        let error = run(&text, &mut list, scalars, Options::default()).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn halves_accumulate_in_single_precision() {
    let text = "buffer b0: read f16\nbuffer b1: write f16\nstage {\n axis a0: reduce 4096\n %0 = load f16 b0[a0]\n \
                %1 = accumulate f16 sum chain %0\n store f16 b1[0], %1\n}";
    let one = half::f16::ONE.to_bits().to_ne_bytes();
    let mut input = one.repeat(4096);
    for kernel in [kernel(text), super::super::math::expand(&kernel(text))] {
        let mut output = vec![0; 2];
        run(&kernel, &mut [&mut input, &mut output], &[], Options::default()).unwrap();
        // In f16 the sum would stick at 2048.
        assert_eq!(output, half::f16::from_f32(4096.0).to_bits().to_ne_bytes());
    }
}

#[test]
fn fused_and_contracted_sums_of_products_round_once() {
    let body = "stage {\n axis a0: reduce 2\n %0 = load f32 b0[a0]\n %1 = mul f32 %0, %0\n \
                %2 = accumulate f32 sum chain %1\n %3 = load f32 b0[0]\n %4 = neg f32 %2\n %5 = fma f32 %3, %3, %4\n \
                store f32 b1[0], %5\n}";
    // The square of 1 + 2^-12 has a last bit of 2^-24, which f32 drops.
    let input = [1.0 + 1.0 / 4096.0, 0.0];
    let table = [(false, false, 0.0), (true, false, f32::powi(2.0, -24)), (true, true, f32::powi(2.0, -24))];
    for (fma, contract, want) in table {
        let got = one_to_one(body, &input, 1, &[], Options { fma, contract }).unwrap();
        assert_eq!(got, [want], "{fma} {contract}");
    }
}
