//! Where inputs come from: a file of named arrays, a folder of ONNX tensors, or a seeded generator.

use std::path::Path;

use fornax::{DType, Extent, Model, Tensor, TensorInfo, io};

use crate::args::ModelArgs;
use crate::failure::Failure;
use crate::output;

/// Tensors by name.
pub type Named = Vec<(String, Tensor)>;

/// The inputs that the command line asks for.
pub fn inputs(args: &ModelArgs, model: &Model) -> Result<Named, Failure> {
    match &args.inputs {
        Some(path) => read(path, "input", model.inputs()),
        None => draw(args, model),
    }
}

/// The inputs, where a file names each of them: reading it asks nothing of the model.
pub fn read_early(args: &ModelArgs) -> Result<Option<Named>, Failure> {
    let file = args.inputs.as_deref().filter(|path| !path.is_dir());
    file.map(|path| read(path, "input", &[])).transpose()
}

/// Borrowed, as `Model::run` takes them.
pub fn borrowed(named: &Named) -> Vec<(&str, &Tensor)> {
    named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// Reads a file of named arrays or a folder of `prefix_K.pb`. A folder's tensor belongs to what its own name says, else to the
/// K-th of `known`.
pub fn read(path: &Path, prefix: &str, known: &[TensorInfo]) -> Result<Named, Failure> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors")) {
        return Ok(io::load_safetensors(path)?);
    }
    if !path.is_dir() {
        return Ok(io::read_npz(path)?);
    }
    let mut named: Named = Vec::new();
    for found in io::read_tensor_folder(path, prefix)? {
        let own = known.iter().find(|info| info.name == found.name);
        let Some(info) = own.or_else(|| known.get(found.number)) else {
            let (n, count) = (found.number, known.len());
            let what = format!(
                "{prefix}_{n}.pb: the model has {count} {prefix}s, and none is named '{}'",
                found.name
            );
            return Err(Failure::input(format_args!("{}: {what}", path.display())));
        };
        if named.iter().any(|(name, _)| *name == info.name) {
            let what = format!("two tensors for the {prefix} '{}'", info.name);
            return Err(Failure::input(format_args!("{}: {what}", path.display())));
        }
        named.push((info.name.clone(), found.tensor));
    }
    Ok(named)
}

/// Draws every input: integers uniformly from the asked range, bools from both values, floats from the standard normal
/// distribution. Symbolic dims without a value are 1, or their smallest value.
fn draw(args: &ModelArgs, model: &Model) -> Result<Named, Failure> {
    let mut unset: Vec<String> = Vec::new();
    let mut drawn = Vec::new();
    for (k, info) in model.inputs().iter().enumerate() {
        let mut shape = Vec::new();
        for extent in &info.dims {
            shape.push(match extent {
                Extent::Fixed(n) => *n,
                Extent::Symbol { name, min, .. } => {
                    let n = (*min).max(1);
                    let text = format!("{name}={n}");
                    if !unset.contains(&text) {
                        unset.push(text);
                    }
                    n
                }
                Extent::Expression(text) => {
                    let what = format!("input '{}' has an extent of {text}; give --inputs", info.name);
                    return Err(Failure::input(what));
                }
            });
        }
        let generator = Generator::new(args.seed, k as u64);
        drawn.push((info.name.clone(), generator.tensor(info, &shape, args.int_range)?));
    }
    let dims = if unset.is_empty() {
        String::new()
    } else {
        format!("; dims {} (--dim sets others)", unset.join(", "))
    };
    output::note(format_args!("inputs are drawn from seed {}{dims}", args.seed));
    Ok(drawn)
}

/// A stream of random numbers: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Generator {
    state: u64,
}

impl Generator {
    /// Stream `k` of a seed.
    fn new(seed: u64, k: u64) -> Self {
        let mut first = Generator { state: seed };
        let start = first.next();
        Generator { state: start ^ k.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1, never 0.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = ((-2.0 * self.uniform().ln()).sqrt(), std::f64::consts::TAU * self.uniform());
        radius * angle.cos()
    }

    fn integer(&mut self, (lo, hi): (i64, i64)) -> i64 {
        let count = (i128::from(hi) - i128::from(lo) + 1) as u128;
        let scaled = (u128::from(self.next()) * count) >> 64;
        (i128::from(lo) + scaled as i128) as i64
    }

    fn tensor(mut self, info: &TensorInfo, shape: &[usize], range: (i64, i64)) -> Result<Tensor, Failure> {
        let refused = |e| Failure::input(format_args!("input '{}': {e}", info.name));
        let zeros = Tensor::zeros(shape, info.dtype).map_err(refused)?;
        let n = zeros.numel();
        let range = if info.dtype == DType::Bool { (0, 1) } else { range };
        if info.dtype.is_float() {
            return Tensor::from_f64s((0..n).map(|_| self.normal()), info.dtype, shape).map_err(refused);
        }
        let fits = Tensor::from_i64s([range.0, range.1], info.dtype, &[2]).map_err(refused)?;
        if (0..2).any(|i| fits.as_literal().get_i64(i) != [range.0, range.1][i]) {
            let (lo, hi) = range;
            let what = format!(
                "input '{}' is {}, which does not hold {lo}..={hi}; see --int-range",
                info.name, info.dtype
            );
            return Err(Failure::input(what));
        }
        Tensor::from_i64s((0..n).map(|_| self.integer(range)), info.dtype, shape).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(dtype: DType) -> TensorInfo {
        TensorInfo { name: "x".into(), dtype, dims: vec![] }
    }

    #[test]
    fn drawn_numbers_have_their_distribution_and_repeat() {
        let draw = |dtype, range| Generator::new(1, 0).tensor(&info(dtype), &[10_000], range).unwrap();
        let x = draw(DType::F64, (0, 1)).to_f64_vec();
        let mean = x.iter().sum::<f64>() / 1e4;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let x = draw(DType::I64, (-2, 3));
        assert_eq!(x, draw(DType::I64, (-2, 3)));
        for v in -2..=3 {
            let share = x.as_slice::<i64>().unwrap().iter().filter(|&&e| e == v).count();
            assert!((1500..1850).contains(&share), "{v}: {share}");
        }
        let wide = draw(DType::I64, (i64::MIN, i64::MAX));
        assert!(wide.as_slice::<i64>().unwrap().iter().any(|&v| v < i64::MIN / 2));
        let bools = draw(DType::Bool, (5, 9));
        assert!(bools.bytes().iter().all(|&b| b < 2));
        assert!(Generator::new(1, 0).tensor(&info(DType::U8), &[1], (0, 256)).is_err());
        assert!(Generator::new(1, 0).tensor(&info(DType::U8), &[1], (-1, 0)).is_err());
    }

    #[test]
    fn streams_differ() {
        let first = |seed, k| Generator::new(seed, k).next();
        let all = [first(0, 0), first(0, 1), first(1, 0), first(1, 1)];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])));
    }
}
