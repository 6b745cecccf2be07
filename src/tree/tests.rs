//! Paths, rebuilding and configuration of derived and built-in trees.

use super::*;
use crate::TensorTree;
use std::collections::BTreeMap;

#[derive(TensorTree, Clone, PartialEq, Debug)]
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    #[tensor(static)]
    eps: f32,
}

#[derive(TensorTree, Clone, PartialEq, Debug)]
struct Block<N, S> {
    layers: Vec<Linear>,
    norm: N,
    heads: [Box<Tensor>; 2],
    #[tensor(static)]
    settings: S,
}

#[derive(TensorTree, Clone, PartialEq, Debug)]
enum Norm {
    Nothing,
    Layer { scale: Tensor, shift: Tensor },
    Rms(Tensor, #[tensor(static)] u8),
}

/// A chain that contains itself.
#[derive(TensorTree, Clone, PartialEq, Debug)]
struct Chain {
    here: Tensor,
    next: Option<Box<Chain>>,
}

#[derive(TensorTree)]
struct Unit;

#[derive(TensorTree)]
enum Never {}

fn t(value: i64) -> Tensor {
    Tensor::scalar(value)
}

fn linear(value: i64, bias: bool) -> Linear {
    Linear { weight: t(value), bias: bias.then(|| t(value + 1)), eps: 0.5 }
}

fn paths(tree: &impl TensorTree) -> Vec<String> {
    tree.tensors().into_iter().map(|(path, _)| path).collect()
}

#[test]
fn every_tensor_has_its_path() {
    let block = Block {
        layers: vec![linear(1, false), linear(2, true)],
        norm: Norm::Layer { scale: t(4), shift: t(5) },
        heads: [Box::new(t(6)), Box::new(t(7))],
        settings: "relu".to_string(),
    };
    let all = [
        "layers.0.weight",
        "layers.1.weight",
        "layers.1.bias",
        "norm.scale",
        "norm.shift",
        "heads.0",
        "heads.1",
    ];
    assert_eq!(paths(&block), all);
    assert_eq!(paths(&(&block, t(0))).last().unwrap(), "1");
    assert_eq!(paths(&Block { norm: Norm::Rms(t(1), 3), ..block.clone() })[3], "norm.0");
    assert_eq!(paths(&t(1)), [""]);
    let chain = Chain { here: t(1), next: Some(Box::new(Chain { here: t(2), next: None })) };
    assert_eq!(paths(&chain), ["here", "next.here"]);
    let map = BTreeMap::from([("b".to_string(), t(1)), ("a".to_string(), t(2))]);
    assert_eq!(paths(&(map, (), Unit, None::<Never>)), ["0.a", "0.b"]);
}

#[test]
fn rebuilding_replaces_tensors_and_keeps_the_rest() {
    let block = Block {
        layers: vec![linear(1, true)],
        norm: Norm::Nothing,
        heads: [Box::new(t(6)), Box::new(t(7))],
        settings: (1u8, true),
    };
    let mut seen = Vec::new();
    let doubled = block.map_tensors(|path, tensor| {
        seen.push(path.to_string());
        t(2 * tensor.as_slice::<i64>().unwrap()[0])
    });
    assert_eq!(seen, paths(&block));
    let values: Vec<_> = doubled.tensors().iter().map(|(_, t)| t.as_slice::<i64>().unwrap()[0]).collect();
    assert_eq!(values, [2, 4, 12, 14]);
    assert_eq!((doubled.settings, doubled.norm, doubled.layers[0].eps), ((1, true), Norm::Nothing, 0.5));
    // References are owned afterwards.
    let (a, b): (Linear, Tensor) = (&linear(3, false), &t(1)).map_tensors(|_, t| t.clone());
    assert_eq!((a, b), (linear(3, false), t(1)));
}

#[test]
fn configuration_is_compared_by_type_and_value() {
    let same = |a: &dyn StaticValue, b: &dyn StaticValue| a.equals(b);
    assert!(same(&1u8, &1u8) && !same(&1u8, &2u8) && !same(&1u8, &1i8));
    let digest = |value: &dyn StaticValue| {
        let mut hasher = rustc_hash::FxHasher::default();
        value.feed(&mut hasher);
        hasher.finish()
    };
    assert_eq!(digest(&"a".to_string()), digest(&*"a".to_string().copied()));
    assert!(same(&*7i32.copied(), &7i32));
}
