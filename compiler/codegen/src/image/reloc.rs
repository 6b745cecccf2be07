//! Relocations of x86-64 and AArch64: what they point through, and how they are written.
//!
//! Sources: System V ABI AMD64 supplement, "Relocation"; "ELF for the Arm 64-bit Architecture",
//! "Relocation types".

use cranelift_codegen::binemit::Reloc;
use target_lexicon::Architecture;

/// Size of a stub on every architecture.
pub(super) const STUB_BYTES: usize = 16;

/// What the address in a relocation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// The symbol's own.
    Direct,
    /// That of the symbol's stub.
    Stub,
    /// That of the symbol's entry in the import table.
    Table,
}

/// Which address a relocation of that kind takes; `None` if images don't support the kind.
pub(super) fn via(kind: Reloc, imported: bool) -> Option<Via> {
    match kind {
        Reloc::Abs8 => Some(Via::Direct),
        Reloc::X86CallPCRel4 | Reloc::X86CallPLTRel4 | Reloc::Arm64Call => {
            Some(if imported { Via::Stub } else { Via::Direct })
        }
        Reloc::X86PCRel4 | Reloc::Aarch64AdrPrelPgHi21 | Reloc::Aarch64AddAbsLo12Nc => {
            (!imported).then_some(Via::Direct)
        }
        Reloc::X86GOTPCRel4 | Reloc::Aarch64AdrGotPage21 | Reloc::Aarch64Ld64GotLo12Nc => Some(Via::Table),
        _ => None,
    }
}

/// Writes a relocation at the start of `code`, which lies at address `place`, for the value
/// `target` (symbol plus addend). `None` if the value does not fit.
pub(super) fn apply(kind: Reloc, code: &mut [u8], place: u64, target: u64) -> Option<()> {
    let distance = target.wrapping_sub(place) as i64;
    let pages = ((target >> 12) as i64).wrapping_sub((place >> 12) as i64);
    match kind {
        Reloc::Abs8 => code.get_mut(..8)?.copy_from_slice(&target.to_le_bytes()),
        Reloc::X86CallPCRel4 | Reloc::X86CallPLTRel4 | Reloc::X86PCRel4 | Reloc::X86GOTPCRel4 => {
            let distance = i32::try_from(distance).ok()?;
            code.get_mut(..4)?.copy_from_slice(&distance.to_le_bytes());
        }
        Reloc::Arm64Call => patch(code, field(distance.checked_div(4)?, 26)?)?,
        Reloc::Aarch64AdrPrelPgHi21 | Reloc::Aarch64AdrGotPage21 => {
            let pages = field(pages, 21)?;
            patch(code, (pages & 3) << 29 | (pages >> 2) << 5)?;
        }
        Reloc::Aarch64AddAbsLo12Nc => patch(code, (target as u32 & 0xfff) << 10)?,
        Reloc::Aarch64Ld64GotLo12Nc => patch(code, ((target as u32 & 0xff8) >> 3) << 10)?,
        _ => return None,
    }
    Some(())
}

/// `value` as a two's complement field of `bits` bits.
fn field(value: i64, bits: u32) -> Option<u32> {
    let limit = 1i64 << (bits - 1);
    (-limit <= value && value < limit).then_some(value as u32 & ((1 << bits) - 1))
}

/// Fills bits that are zero in the instruction word at the start of `code`.
fn patch(code: &mut [u8], bits: u32) -> Option<()> {
    let word: &mut [u8; 4] = code.first_chunk_mut()?;
    *word = (u32::from_le_bytes(*word) | bits).to_le_bytes();
    Some(())
}

/// A jump to `address`, whose table entry lies `distance` bytes behind the stub's start.
pub(super) fn stub(arch: Architecture, distance: u64, address: u64) -> [u8; STUB_BYTES] {
    let mut out = [filler(arch); STUB_BYTES];
    if let Architecture::Aarch64(_) = arch {
        // ldr x16, .+8; br x16; the address
        out[..4].copy_from_slice(&0x5800_0050u32.to_le_bytes());
        out[4..8].copy_from_slice(&0xd61f_0200u32.to_le_bytes());
        out[8..].copy_from_slice(&address.to_le_bytes());
    } else {
        // jmp [rip + displacement]: the displacement counts from the end of its 6 bytes.
        out[..2].copy_from_slice(&[0xff, 0x25]);
        out[2..6].copy_from_slice(&((distance - 6) as u32).to_le_bytes());
    }
    out
}

/// What fills the gaps between functions: no-operations on x86-64, zeros elsewhere.
pub(super) fn filler(arch: Architecture) -> u8 {
    if arch == Architecture::X86_64 { 0x90 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_distances_count_from_the_field_and_must_fit() {
        let mut code = [0; 4];
        apply(Reloc::X86CallPCRel4, &mut code, 0x1000, 0x0ffc).unwrap();
        assert_eq!(i32::from_le_bytes(code), -4);
        assert!(apply(Reloc::X86PCRel4, &mut code, 0, 1 << 31).is_none());
        assert!(apply(Reloc::X86PCRel4, &mut code, 0, (1 << 31) - 1).is_some());
    }

    #[test]
    fn aarch64_fields_are_those_of_the_assembler() {
        // `bl .-8`, `adrp x0, .+0x3000`, `ldr x0, [x0, #0x128]`, `add x0, x0, #0x123`.
        let cases = [
            (Reloc::Arm64Call, 0x9400_0000u32, 0x10008, 0x10000, 0x97ff_fffeu32),
            (Reloc::Aarch64AdrGotPage21, 0x9000_0000, 0x10008, 0x13128, 0xf000_0000),
            (Reloc::Aarch64Ld64GotLo12Nc, 0xf940_0000, 0x10008, 0x13128, 0xf940_9400),
            (Reloc::Aarch64AddAbsLo12Nc, 0x9100_0000, 0x10008, 0x13123, 0x9104_8c00),
        ];
        for (kind, word, place, target, expect) in cases {
            let mut code = word.to_le_bytes();
            apply(kind, &mut code, place, target).unwrap();
            assert_eq!(u32::from_le_bytes(code), expect, "{kind:?}");
        }
        let mut code = [0; 4];
        assert!(apply(Reloc::Arm64Call, &mut code, 0, 1 << 28).is_none());
    }

    #[test]
    fn an_import_is_never_reached_directly_but_by_its_full_address() {
        assert_eq!(via(Reloc::X86PCRel4, true), None);
        assert_eq!(via(Reloc::X86CallPCRel4, true), Some(Via::Stub));
        assert_eq!(via(Reloc::Abs8, true), Some(Via::Direct));
        assert_eq!(via(Reloc::X86GOTPCRel4, false), Some(Via::Table));
        assert_eq!(via(Reloc::Abs4, false), None);
    }
}
