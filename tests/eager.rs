//! Eager operations agree with plain loops, on every layout, and say what is wrong at the caller's line.

use fornax::Tensor;

#[test]
fn addition_broadcasts() {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]).unwrap();
    let y = Tensor::from_slice(&[10.0f32, 20.0, 30.0], &[3]).unwrap();
    let z = Tensor::from_slice(&[100.0f32, 200.0], &[2, 1]).unwrap();
    assert_eq!((&x + &x).as_slice::<f32>().unwrap(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    assert_eq!((&x + &y).as_slice::<f32>().unwrap(), [11.0, 22.0, 33.0, 14.0, 25.0, 36.0]);
    assert_eq!((&x + &z).as_slice::<f32>().unwrap(), [101.0, 102.0, 103.0, 204.0, 205.0, 206.0]);
    assert_eq!((&z + &y).shape(), [2, 3]);
}
