//! What code is generated for: an instruction set with its extensions, and a leaf emitter.

use std::fmt;
use std::str::FromStr;

use cranelift_codegen::ir::Type;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::{Architecture, Triple};

use crate::error::Error;
use crate::leaf::X64;

/// How much of the CPU the code may use. The levels of x86-64 are those of its psABI; other
/// architectures know `baseline` and `native`, which are the same there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Cpu {
    /// What every CPU of the architecture has (x86-64: SSE2, no fused multiply-add).
    Baseline,
    /// x86-64-v3: AVX2, FMA, BMI1, BMI2, LZCNT.
    V3,
    /// x86-64-v4: v3 and AVX-512 F, BW, CD, DQ, VL.
    V4,
    /// Everything the machine that compiles has.
    Native,
}

impl Cpu {
    /// All levels, in order.
    pub const ALL: [Cpu; 4] = [Cpu::Baseline, Cpu::V3, Cpu::V4, Cpu::Native];

    /// The name in options and cache keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Cpu::Baseline => "baseline",
            Cpu::V3 => "x86-64-v3",
            Cpu::V4 => "x86-64-v4",
            Cpu::Native => "native",
        }
    }

    /// All names, for messages.
    pub(crate) fn known_names() -> String {
        Cpu::ALL.map(Cpu::name).join(", ")
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Cpu {
    type Err = Error;
    /// The level of that name; the error lists the known ones.
    fn from_str(s: &str) -> Result<Self, Error> {
        let found = Cpu::ALL.into_iter().find(|c| c.name() == s);
        found.ok_or_else(|| Error::UnknownCpu { name: s.to_owned() })
    }
}

/// Who encodes the innermost loops.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Leaf {
    /// Cranelift: every target, vectors of 128 bits at most.
    Clif,
    /// AVX2 with fused multiply-add, or AVX-512; what it has no code for is left to Cranelift.
    X64,
    /// `X64` where the target has what it needs, else `Clif`.
    #[default]
    Auto,
}

impl Leaf {
    /// All emitters.
    pub const ALL: [Leaf; 3] = [Leaf::Clif, Leaf::X64, Leaf::Auto];

    /// The name in options and cache keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Leaf::Clif => "clif",
            Leaf::X64 => "x64",
            Leaf::Auto => "auto",
        }
    }

    /// All names, for messages.
    pub(crate) fn known_names() -> String {
        Leaf::ALL.map(Leaf::name).join(", ")
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Leaf {
    type Err = Error;
    /// The emitter of that name; the error lists the known ones.
    fn from_str(s: &str) -> Result<Self, Error> {
        let found = Leaf::ALL.into_iter().find(|l| l.name() == s);
        found.ok_or_else(|| Error::UnknownLeaf { name: s.to_owned() })
    }
}

/// An instruction set with its extensions.
#[derive(Clone)]
pub struct Target {
    /// Cranelift's backend with its settings.
    pub isa: OwnedTargetIsa,
    /// The level asked for.
    pub cpu: Cpu,
    /// Whether `fma` is one instruction (else it would be a call: not to be emitted).
    pub fma: bool,
    /// Whether vectors of 128 bits may be used; without them any vector type makes the backend
    /// fail (riscv64 without V).
    pub has_vectors: bool,
    /// Whether floor, ceil, trunc and nearest are one instruction (else they would be calls: not
    /// to be emitted; x86-64 has them from SSE4.1 on).
    pub has_round: bool,
    /// Whether AVX2 is there.
    pub avx2: bool,
    /// Whether AVX-512 F, BW, DQ and VL are there.
    pub avx512: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({} on {})", self.cpu, self.isa.triple())
    }
}

impl Target {
    /// The machine this runs on.
    ///
    /// # Errors
    /// [`Error::CpuLacking`] if the machine lacks part of the level, naming the parts;
    /// [`Error::Target`] if Cranelift has no backend for it.
    pub fn host(cpu: Cpu) -> Result<Target, Error> {
        let missing: Vec<&str> = required(cpu).iter().copied().filter(|name| !host_has(name)).collect();
        if !missing.is_empty() || (is_x86_level(cpu) && !cfg!(target_arch = "x86_64")) {
            let missing = if missing.is_empty() || !cfg!(target_arch = "x86_64") {
                "it is not an x86-64".to_owned()
            } else {
                format!("it lacks {}", missing.join(", "))
            };
            return Err(Error::CpuLacking { cpu, missing });
        }
        let native: Vec<&str> = OPTIONAL.iter().copied().filter(|name| host_has(name)).collect();
        let extensions = if cpu == Cpu::Native { &native[..] } else { required(cpu) };
        Target::with_extensions(Triple::host(), cpu, extensions)
    }

    /// Any machine that Cranelift knows, to generate code that is not run here.
    ///
    /// # Errors
    /// [`Error::Target`] if Cranelift has no backend for `triple`, if `cpu` is a level of another
    /// architecture, or if it is `native`.
    pub fn for_triple(triple: Triple, cpu: Cpu) -> Result<Target, Error> {
        let refuse = |what: &str| Error::Target { triple: triple.to_string(), what: what.into() };
        if cpu == Cpu::Native {
            return Err(refuse("`native` is the machine that compiles; name a level instead"));
        }
        if is_x86_level(cpu) && triple.architecture != Architecture::X86_64 {
            return Err(refuse("x86-64 levels belong to x86-64; use `baseline`"));
        }
        Target::with_extensions(triple, cpu, required(cpu))
    }

    fn with_extensions(triple: Triple, cpu: Cpu, extensions: &[&str]) -> Result<Target, Error> {
        let refuse = |what: String| Error::Target { triple: triple.to_string(), what };
        let shared = shared_settings().map_err(|e| refuse(e.to_string()))?;
        let mut builder = isa::lookup(triple.clone()).map_err(|e| refuse(e.to_string()))?;
        for flag in extensions.iter().filter_map(|name| cranelift_flag(name)) {
            builder.enable(flag).map_err(|e| refuse(format!("{flag}: {e}")))?;
        }
        let isa = builder.finish(shared).map_err(|e| refuse(e.to_string()))?;
        let has = |name: &str| isa.isa_flags().iter().any(|f| f.name == name && f.as_bool() == Some(true));
        let x86 = triple.architecture == Architecture::X86_64;
        let riscv = matches!(triple.architecture, Architecture::Riscv64(_));
        Ok(Target {
            cpu,
            fma: !x86 || has("has_fma"),
            has_vectors: !riscv || has("has_v"),
            has_round: !x86 || has("has_sse41"),
            avx2: has("has_avx2"),
            avx512: ["avx512f", "avx512bw", "avx512dq", "avx512vl", "bmi2"]
                .iter()
                .all(|e| extensions.contains(e)),
            isa,
        })
    }

    /// The type of an address.
    #[must_use]
    pub fn pointer_type(&self) -> Type {
        self.isa.pointer_type()
    }

    /// For display and cache keys, such as `x86-64-v3/clif` and `x86-64-v4/x64-avx512`: the emitter that
    /// `leaf` stands for here, with its vectors. `native` and levels that an architecture doesn't number are
    /// preceded by the architecture.
    #[must_use]
    pub fn id(&self, leaf: Leaf) -> String {
        let leaf = match X64::new(self) {
            Some(x64) if leaf != Leaf::Clif => format!("{}-{}", Leaf::X64, x64.level()),
            _ => Leaf::Clif.to_string(),
        };
        if is_x86_level(self.cpu) {
            format!("{}/{leaf}", self.cpu)
        } else {
            format!("{}-{}/{leaf}", self.isa.triple().architecture, self.cpu)
        }
    }
}

fn shared_settings() -> Result<settings::Flags, settings::SetError> {
    let mut flags = settings::builder();
    flags.set("opt_level", "speed")?;
    flags.set("is_pic", "true")?;
    flags.set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" })?;
    flags.set("enable_probestack", "false")?;
    flags.set("unwind_info", "false")?;
    Ok(settings::Flags::new(flags))
}

const fn is_x86_level(cpu: Cpu) -> bool {
    matches!(cpu, Cpu::V3 | Cpu::V4)
}

/// Extensions of x86-64 by the names of `is_x86_feature_detected`, each level including the ones
/// below (x86-64 psABI, table 3.1).
fn required(cpu: Cpu) -> &'static [&'static str] {
    const V3: usize = 15;
    match cpu {
        Cpu::Baseline | Cpu::Native => &[],
        Cpu::V3 => &OPTIONAL[..V3],
        Cpu::V4 => &OPTIONAL[..V3 + 5],
    }
}

/// v3 first, then what v4 adds, then extensions outside the levels.
const OPTIONAL: [&str; 24] = [
    "sse3",
    "ssse3",
    "sse4.1",
    "sse4.2",
    "popcnt",
    "cmpxchg16b",
    "avx",
    "avx2",
    "fma",
    "bmi1",
    "bmi2",
    "lzcnt",
    "f16c",
    "movbe",
    "xsave", //
    "avx512f",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512vl", //
    "avx512vbmi",
    "avx512bitalg",
    "avx512vnni",
    "avxvnni",
];

/// Cranelift's name of an extension, if it makes use of it.
fn cranelift_flag(name: &str) -> Option<&'static str> {
    Some(match name {
        "sse3" => "has_sse3",
        "ssse3" => "has_ssse3",
        "sse4.1" => "has_sse41",
        "sse4.2" => "has_sse42",
        "popcnt" => "has_popcnt",
        "cmpxchg16b" => "has_cmpxchg16b",
        "avx" => "has_avx",
        "avx2" => "has_avx2",
        "fma" => "has_fma",
        "bmi1" => "has_bmi1",
        "bmi2" => "has_bmi2",
        "lzcnt" => "has_lzcnt",
        "avx512f" => "has_avx512f",
        "avx512dq" => "has_avx512dq",
        "avx512vl" => "has_avx512vl",
        "avx512vbmi" => "has_avx512vbmi",
        "avx512bitalg" => "has_avx512bitalg",
        "avx512vnni" => "has_avx512vnni",
        "avxvnni" => "has_avx_vnni",
        _ => return None,
    })
}

/// Whether this machine has the extension and the OS saves its registers.
#[cfg(target_arch = "x86_64")]
fn host_has(name: &str) -> bool {
    macro_rules! detect {
        ($($ext:tt)*) => { match name { $($ext => std::arch::is_x86_feature_detected!($ext),)* _ => false } };
    }
    detect!(
        "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "cmpxchg16b" "avx" "avx2" "fma" "bmi1" "bmi2"
        "lzcnt" "f16c" "movbe" "xsave" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl"
        "avx512vbmi" "avx512bitalg" "avx512vnni" "avxvnni"
    )
}
#[cfg(not(target_arch = "x86_64"))]
fn host_has(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_an_unknown_one_lists_them() {
        for cpu in Cpu::ALL {
            assert_eq!(cpu.name().parse::<Cpu>().unwrap(), cpu);
        }
        let text = "x86-64-v9".parse::<Cpu>().unwrap_err().to_string();
        for cpu in Cpu::ALL {
            assert!(text.contains(cpu.name()), "{text}");
        }
        assert!("llvm".parse::<Leaf>().unwrap_err().to_string().contains("clif"));
    }

    #[test]
    fn the_table_of_extensions_is_divided_where_the_levels_end() {
        assert_eq!(required(Cpu::V3).last(), Some(&"xsave"));
        assert_eq!(required(Cpu::V4).last(), Some(&"avx512vl"));
        assert!(required(Cpu::Baseline).is_empty());
    }

    #[test]
    fn the_host_runs_baseline_and_native() {
        let baseline = Target::host(Cpu::Baseline).unwrap();
        let native = Target::host(Cpu::Native).unwrap();
        assert!(native.has_vectors && baseline.has_vectors);
        if cfg!(target_arch = "x86_64") {
            assert!(!baseline.fma && !baseline.has_round);
            assert_eq!(native.fma, host_has("fma"));
            for leaf in [Leaf::Clif, Leaf::Auto] {
                assert_eq!(baseline.id(leaf), "x86_64-baseline/clif");
            }
        }
    }

    #[test]
    fn a_level_is_refused_exactly_when_an_extension_is_missing() {
        for cpu in [Cpu::V3, Cpu::V4] {
            let complete = cfg!(target_arch = "x86_64") && required(cpu).iter().all(|e| host_has(e));
            match Target::host(cpu) {
                Ok(target) => {
                    assert!(complete && target.fma && target.has_round);
                    assert_eq!(target.id(Leaf::Clif), format!("{cpu}/clif"));
                    let vectors = if cpu == Cpu::V4 { "avx512" } else { "avx2" };
                    for leaf in [Leaf::X64, Leaf::Auto] {
                        assert_eq!(target.id(leaf), format!("{cpu}/x64-{vectors}"));
                    }
                }
                Err(e) => assert!(!complete && e.to_string().contains(cpu.name()), "{e}"),
            }
        }
    }

    #[test]
    fn foreign_targets_state_what_they_have() {
        let riscv = Target::for_triple("riscv64gc-unknown-linux-gnu".parse().unwrap(), Cpu::Baseline);
        assert!(!riscv.unwrap().has_vectors);
        let arm = Target::for_triple("aarch64-unknown-linux-gnu".parse().unwrap(), Cpu::Baseline);
        assert!(arm.unwrap().fma);
        let wrong = Target::for_triple("aarch64-unknown-linux-gnu".parse().unwrap(), Cpu::V3);
        assert!(wrong.unwrap_err().to_string().contains("baseline"));
        let unknown = Target::for_triple("powerpc-unknown-linux-gnu".parse().unwrap(), Cpu::Baseline);
        assert!(matches!(unknown.unwrap_err(), Error::Target { .. }));
    }
}
