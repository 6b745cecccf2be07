//! The last step: code for a machine, and the weights in one block.

use crate::{Error, Lowered, WeightSource};
use fornax_codegen::Target;
use fornax_codegen::program::Program;
use fornax_ir::graph::Graph;
use fornax_runtime::AlignedBuffer;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A program in native code, with its weights.
pub struct Compiled {
    /// The code.
    pub code: fornax_codegen::Compiled,
    /// What was compiled.
    pub program: Program,
    /// The weights.
    pub weights: Arc<AlignedBuffer>,
    /// Time from program to code.
    pub codegen_time: Duration,
}

impl Lowered {
    /// Generates code for a machine, with the leaf emitter of that name, and gathers the weights.
    /// Consumes the graph: its constants are released one by one as they are copied, and so are pages of a
    /// mapped file.
    ///
    /// # Errors
    /// [`Error::Codegen`], or [`Error::Weights`] when memory does not suffice.
    pub fn compile(
        self,
        target: &Target,
        leaf: &str,
        options: &fornax_codegen::Options,
    ) -> Result<Compiled, Error> {
        let start = Instant::now();
        let code = fornax_codegen::compile(&self.program, target, leaf, options)?;
        let codegen_time = start.elapsed();
        let weights = Arc::new(gather_weights(self.graph, &self.weights, self.program.weights.bytes)?);
        Ok(Compiled { code, program: self.program, weights, codegen_time })
    }
}

fn gather_weights(mut graph: Graph, sources: &[WeightSource], bytes: u64) -> Result<AlignedBuffer, Error> {
    let refused = |what: String| Error::Weights { bytes, what };
    let len = usize::try_from(bytes).map_err(|e| refused(e.to_string()))?;
    let mut weights = AlignedBuffer::zeroed(len).map_err(|e| refused(e.to_string()))?;
    for (k, s) in sources.iter().enumerate() {
        s.write(s.literal(&graph), &mut weights.as_mut_slice()[s.offset as usize..]);
        let same = |other: &WeightSource| other.constant == s.constant && other.regions == s.regions;
        if !sources[k + 1..].iter().any(same) {
            fornax_ir::file::release(s.literal(&graph).bytes());
            *s.literal_mut(&mut graph) = fornax_ir::Literal::scalar(0u8);
        }
    }
    Ok(weights)
}
