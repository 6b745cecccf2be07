//! Texts that NumPy made: `cases.py` writes `cases.json`.

use serde_json::Value;

use super::*;

fn values(case: &Value, count: usize) -> Vec<String> {
    match case["values"].as_array() {
        Some(values) => values.iter().map(|v| v.as_str().expect("a number as text").to_string()).collect(),
        None => match &case["step"] {
            Value::Number(step) if step.is_i64() => {
                let step = step.as_i64().expect("it is one");
                (0..count as i64).map(|i| (i * step).to_string()).collect()
            }
            step => {
                let step = step.as_f64().expect("a step");
                (0..count).map(|i| (i as f64 * step).to_string()).collect()
            }
        },
    }
}

fn tensor(case: &Value) -> Tensor {
    let dtype: DType = case["dtype"].as_str().expect("a dtype").parse().expect("a known dtype");
    let shape: Vec<usize> = case["shape"]
        .as_array()
        .expect("a shape")
        .iter()
        .map(|n| n.as_u64().expect("an extent") as usize)
        .collect();
    let texts = values(case, shape.iter().product());
    if dtype.is_float() {
        let numbers = texts.iter().map(|t| t.parse::<f64>().expect("a float"));
        return Tensor::from_f64s(numbers, dtype, &shape).expect("the sizes agree");
    }
    let number = |t: &String| match t.as_str() {
        "True" => 1,
        "False" => 0,
        t => t.parse::<i128>().expect("an integer") as i64,
    };
    Tensor::from_i64s(texts.iter().map(number), dtype, &shape).expect("the sizes agree")
}

#[test]
fn tensors_print_as_numpy_prints_them() {
    let cases: Value = serde_json::from_str(include_str!("cases.json")).expect("JSON");
    let cases = cases.as_array().expect("a list");
    assert!(cases.len() > 250, "{}", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let t = tensor(case);
        for (got, key) in [(t.to_string(), "display"), (format!("{t:?}"), "debug")] {
            let want = case[key].as_str().expect("a text");
            if got != want {
                wrong += &format!("{} {} {key}:\n{got}\nNumPy:\n{want}\n\n", case["dtype"], case["shape"]);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn views_print_what_they_show() {
    let t = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]).unwrap();
    let turned: Tensor = t.array().view(0, [3, 2].into_iter().collect(), [1, 3].into_iter().collect()).into();
    assert_eq!(turned.to_string(), "[[1. 4.]\n [2. 5.]\n [3. 6.]]");
    let back: Tensor = t.array().view(5, [6].into_iter().collect(), [-1].into_iter().collect()).into();
    assert_eq!(format!("{back:?}"), "tensor([6., 5., 4., 3., 2., 1.], dtype=f32)");
    let huge: Tensor = t.array().view(1, [1 << 40].into_iter().collect(), [0].into_iter().collect()).into();
    assert_eq!(huge.to_string(), "[2. 2. 2. ... 2. 2. 2.]");
    let deep = Tensor::ones(vec![1; 90], DType::F32);
    assert_eq!(deep.to_string(), format!("{}1.{}", "[".repeat(90), "]".repeat(90)));
    assert!(format!("{deep:?}").contains("1."), "more brackets than a line holds");
    let half = Tensor::from_f64s([0.1, 3.0e38], DType::BF16, &[2]).unwrap();
    assert_eq!(half.to_string(), "[1.e-01 3.e+38]", "as many digits as bf16 needs");
}
