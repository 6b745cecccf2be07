use super::*;

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|c| f32::from_ne_bytes(c.try_into().unwrap())).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

fn at(buffer: usize, offset: i64) -> Pointer {
    Pointer { buffer, offset }
}

const DOT: &str = "leaf {
  ptr p0: f32
  ptr p1: f32
  ptr p2: f32
  ints 2
  init {
    %0 = const f32x4 0.0
  }
  loop $0: p0+$1, p1+16
  loop 2: p0+4, p1+32
  carry %1: f32x4 = %0, %4
  body {
    %2 = load_splat f32x4 [p0]
    %3 = load f32x4 [p1]
    %4 = fma f32x4 %2, %3, %1
  }
  finish {
    store f32x4 [p2 + 16], %1
    %6 = horizontal f32 sum %1
    store f32 [p2], %6
  }
}";

/// Loops advance pointers each by its own bytes, and the last loop is the fastest.
#[test]
fn loops_carry_values_and_advance_pointers() {
    let a = [1.0, 10.0, 100.0, 1000.0];
    let b: Vec<f32> = (0..16).map(|i| i as f32).collect();
    let (mut a, mut b, mut out) = (bytes(&a), bytes(&b), bytes(&[0.0; 8]));
    let ptrs = [at(0, 0), at(1, 0), at(2, 0)];
    run(&DOT.parse().unwrap(), &mut [&mut a, &mut b, &mut out], &ptrs, &[2, 8], true).unwrap();
    // Points (i, j): element 2i + j of a, vector i + 2j of b.
    let want: Vec<f32> = (0..4).map(|l| l as f32 * 1111.0 + 80.0 + 400.0 + 12000.0).collect();
    assert_eq!(f32s(&out)[4..], want);
    assert_eq!(f32s(&out)[0], want.iter().sum::<f32>());
    // With no rounds, the carried value is what init gave.
    run(&DOT.parse().unwrap(), &mut [&mut a, &mut b, &mut out], &ptrs, &[-1, 8], true).unwrap();
    assert_eq!(f32s(&out)[4..], [0.0; 4]);
}

#[test]
fn accesses_are_checked() {
    let leaf: Leaf = DOT.parse().unwrap();
    let table = [
        ([at(0, 0), at(1, 4), at(2, 0)], "instruction %3: bytes 52..68 at p1, whose buffer has 64"),
        ([at(0, -4), at(1, 0), at(2, 0)], "instruction %2: bytes -4..0 at p0, whose buffer has 16"),
        ([at(0, 2), at(1, 0), at(2, 0)], "instruction %2: byte 2 at p0 is not aligned for f32"),
        ([at(0, 0), at(3, 0), at(2, 0)], "pointer p1 points into buffer 3 of 3"),
    ];
    for (ptrs, want) in table {
        let (mut a, mut b, mut out) = ([0; 16], [0; 64], [0; 32]);
        let buffers: &mut [&mut [u8]] = &mut [&mut a, &mut b, &mut out];
        assert_eq!(run(&leaf, buffers, &ptrs, &[2, 8], true).unwrap_err().to_string(), want);
    }
    let error = run(&leaf, &mut [], &[], &[2, 8], true).unwrap_err().to_string();
    assert_eq!(error, "the leaf takes 3 pointers, not 0");
}

#[test]
fn conditions_guard_what_they_cover() {
    let text = "leaf {
      ptr p0: f32
      ptr p1: f32
      ints 1
      loop 4: p1+4
      body {
        %0 = counter i64 0
        %1 = const i64 2
        %2 = lt bool %0, %1
        %3 = const i64 4
        %4 = mul i64 %0, %3
        %5 = load_if f32 %2, [p0 + %4]
        %6 = const f32 1.5
        if bool %2, 3
        %8 = add f32 %5, %6
        store f32 [p1], %8
        raise bool %2, $0
      }
    }";
    let (mut a, mut out) = (bytes(&[1.0, 2.0]), bytes(&[9.0; 4]));
    let raised = run(&text.parse().unwrap(), &mut [&mut a, &mut out], &[at(0, 0), at(1, 0)], &[33], false);
    assert_eq!(raised, Ok(Some(33)));
    assert_eq!(f32s(&out), [2.5, 3.5, 9.0, 9.0]);
}

#[test]
fn lanes_are_independent_and_horizontals_fold_halves() {
    let text = "leaf {
      ptr p0: f32
      ptr p1: i64
      init {
        %0 = load f32x4 [p0]
        %1 = horizontal f32 sum %0
        store f32 [p0], %1
        %3 = const i64 -1
        %4 = ramp i64x4 %3
        %5 = splat i64x4 %3
        %6 = gt boolx4 %4, %5
        %7 = select i64x4 %6, %4, %5
        store i64x4 [p1], %7
        %9 = horizontal i64 max %4
        store i64 [p1 + 32], %9
        %11 = lane i64 %4, 3
        %12 = pack i64x2 %11, %3
        store i64x2 [p1 + 40], %12
        %14 = load_strided i64x2 [p1 + 24], -2
        store i64x2 [p1 + 56], %14
      }
    }";
    // (1e8 + 1) + (-1e8 + 1) in f32 is 0 one after the other, 2 by halves.
    let (mut a, mut out) = (bytes(&[1e8, 1.0, -1e8, 1.0]), vec![0; 72]);
    run(&text.parse().unwrap(), &mut [&mut a, &mut out], &[at(0, 0), at(1, 0)], &[], false).unwrap();
    assert_eq!(f32s(&a)[0], 2.0);
    let ints: Vec<i64> = out.chunks(8).map(|c| i64::from_ne_bytes(c.try_into().unwrap())).collect();
    assert_eq!(ints, [-1, 0, 1, 2, 2, 2, -1, 2, 0]);
}

/// Lanes from the count on are 0, and neither read nor written: with a count of 0 or less, not even their places need exist.
#[test]
fn parts_touch_the_lanes_below_their_count_alone() {
    let text = "leaf {
  ptr p0: f32
  ptr p1: f32
  ints 1
  init {
    %0 = int i64 $0
  }
  body {
    %1 = load_part f32x4 [p0], %0
    %2 = add f32x4 %1, %1
    store_part f32x4 [p1], %2, %0
  }
}
";
    let leaf: Leaf = text.parse().unwrap();
    assert_eq!(leaf.to_string(), text);
    for (count, want) in [
        (-3, vec![9.0; 4]),
        (0, vec![9.0; 4]),
        (1, vec![2.0, 9.0, 9.0, 9.0]),
        (3, vec![2.0, 4.0, 6.0, 9.0]),
        (4, vec![2.0, 4.0, 6.0, 8.0]),
        (70, vec![2.0, 4.0, 6.0, 8.0]),
    ] {
        // As many elements as are touched.
        let touched = want.iter().filter(|w| **w != 9.0).count();
        let (mut a, mut out) = (bytes(&[1.0, 2.0, 3.0, 4.0][..touched]), bytes(&[9.0; 4]));
        run(&leaf, &mut [&mut a, &mut out], &[at(0, 0), at(1, 0)], &[count], true).unwrap();
        assert_eq!(f32s(&out), want, "count {count}");
    }
    let (mut a, mut out) = (bytes(&[1.0; 2]), bytes(&[9.0; 4]));
    let past = run(&leaf, &mut [&mut a, &mut out], &[at(0, 0), at(1, 0)], &[3], true).unwrap_err();
    assert!(matches!(past, LeafError::OutOfBounds { value: 1, .. }), "{past}");
    let wrong = text.replace("[p1], %2, %0", "[p1], %2, %2");
    assert!(matches!(
        run(&wrong.parse().unwrap(), &mut [&mut a, &mut out], &[at(0, 0), at(1, 0)], &[3], true),
        Err(LeafError::Invalid(_))
    ));
}
