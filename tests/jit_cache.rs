//! What a traced function compiles, counted over the whole process: so this is the only test here.

use fornax::{DType, Dim, Options, Tensor, jit, trace};
use fornax_compiler::codegen::compilations;

#[test]
fn a_traced_function_runs_two_batch_sizes_from_one_compilation() {
    let spec = || Tensor::spec(DType::F32, [Dim::symbol("batch", 1..=512), 3.into()]);
    let options = Options::default().threads(1);
    let inputs: Vec<Tensor> = [2usize, 7]
        .map(|n| Tensor::from_f64s((0..3 * n).map(|i| i as f64), DType::F32, &[n, 3]).unwrap())
        .into();
    let before = compilations();
    let f = jit(|x: Tensor| &(&x + &x) + &x).options(options.clone()).spec(spec());
    let compiled = trace(|x: Tensor| &(&x + &x) + &x, spec()).unwrap();
    let compiled = compiled.lower(&options).unwrap().compile(&options).unwrap();
    for x in &inputs {
        let want: Vec<f32> = x.to_vec::<f32>().unwrap().iter().map(|v| 3.0 * v).collect();
        assert_eq!(f.call(x).to_vec::<f32>().unwrap(), want);
        assert_eq!(compiled.call(x).unwrap().to_vec::<f32>().unwrap(), want);
    }
    assert_eq!(compilations() - before, 2, "one of `jit`, one of the stages");
}
