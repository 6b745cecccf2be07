//! The attributes that convolution and pooling share.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::Dim;

/// A window sliding over spatial axes.
pub(super) struct Window {
    /// Its extents.
    pub(super) kernel: Vec<i64>,
    /// Its steps.
    pub(super) strides: Vec<i64>,
    /// Distances of its taps.
    pub(super) dilations: Vec<i64>,
    /// Padding before and after each axis.
    pub(super) pads: Vec<(Dim, Dim)>,
}

/// Reads strides, dilations and padding, `auto_pad` included. `SAME` pads so that the output extent is
/// `ceil(in / stride)`.
pub(super) fn window(cx: &NodeCx<'_, '_>, spatial: &[Dim], kernel: Vec<i64>) -> Result<Window> {
    let n = kernel.len();
    if kernel.len() != spatial.len() || kernel.iter().any(|&k| k < 1) {
        return Err(cx.bad(format!(
            "the window {kernel:?} must have one extent of at least 1 for each of {} spatial axes",
            spatial.len()
        )));
    }
    let strides = cx.per_axis("strides", n, 1, 1)?;
    let dilations = cx.per_axis("dilations", n, 1, 1)?;
    let auto = cx.text_or("auto_pad", "NOTSET")?;
    let pads = match auto {
        "VALID" => vec![(Dim::ZERO, Dim::ZERO); n],
        "NOTSET" | "" => {
            let listed = cx.per_axis("pads", 2 * n, 0, 0)?;
            (0..n).map(|k| (Dim::constant(listed[k]), Dim::constant(listed[n + k]))).collect()
        }
        "SAME_UPPER" | "SAME_LOWER" => {
            let same = |k: usize| {
                let out = spatial[k].ceil_div(&Dim::constant(strides[k]));
                let total = (out - 1) * strides[k] + (kernel[k] - 1) * dilations[k] + 1 - &spatial[k];
                let total = if cx.le(&Dim::ZERO, &total) { total } else { total.at_least(&Dim::ZERO) };
                let half = total.floor_div(&Dim::constant(2));
                let rest = total - &half;
                if auto == "SAME_UPPER" { (half, rest) } else { (rest, half) }
            };
            (0..n).map(same).collect()
        }
        other => return Err(cx.bad(format!("attribute 'auto_pad' is '{other}', which is unknown"))),
    };
    Ok(Window { kernel, strides, dilations, pads })
}
