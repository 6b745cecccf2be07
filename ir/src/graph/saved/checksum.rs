//! XXH64, the checksum of saved graphs.
//!
//! The algorithm is that of the xxHash specification (Yann Collet, "xxHash fast digest algorithm", section
//! XXH64). Each of its steps is a bijection of the state, so a change within one word of 8 bytes always
//! changes the sum.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;
const STRIPE: usize = 32;

/// XXH64 with seed 0 of bytes that come in pieces.
#[derive(Clone, Debug)]
pub struct Checksum {
    lanes: [u64; 4],
    rest: [u8; STRIPE],
    filled: usize,
    total: u64,
}

impl Default for Checksum {
    fn default() -> Self {
        let lanes = [P1.wrapping_add(P2), P2, 0, 0u64.wrapping_sub(P1)];
        Checksum { lanes, rest: [0; STRIPE], filled: 0, total: 0 }
    }
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

fn stripe(lanes: &mut [u64; 4], bytes: &[u8; STRIPE]) {
    for (lane, w) in lanes.iter_mut().zip(bytes.chunks_exact(8)) {
        *lane = round(*lane, word(w));
    }
}

impl Checksum {
    /// The sum of these bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut sum = Checksum::default();
        sum.update(bytes);
        sum.finish()
    }

    /// Takes further bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        if self.filled > 0 {
            let n = bytes.len().min(STRIPE - self.filled);
            self.rest[self.filled..][..n].copy_from_slice(&bytes[..n]);
            self.filled += n;
            bytes = &bytes[n..];
            if self.filled < STRIPE {
                return;
            }
            stripe(&mut self.lanes, &self.rest);
            self.filled = 0;
        }
        let (whole, rest) = bytes.as_chunks::<STRIPE>();
        let mut lanes = self.lanes;
        whole.iter().for_each(|s| stripe(&mut lanes, s));
        self.lanes = lanes;
        self.rest[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// The sum of all bytes so far.
    pub fn finish(&self) -> u64 {
        let [a, b, c, d] = self.lanes;
        let mut h = if self.total >= STRIPE as u64 {
            let turned = [a.rotate_left(1), b.rotate_left(7), c.rotate_left(12), d.rotate_left(18)];
            let sum = turned.into_iter().fold(0u64, u64::wrapping_add);
            self.lanes.iter().fold(sum, |h, &lane| (h ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4))
        } else {
            P5
        };
        h = h.wrapping_add(self.total);
        let (words, rest) = self.rest[..self.filled].as_chunks::<8>();
        for w in words {
            h = (h ^ round(0, u64::from_le_bytes(*w))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let (halves, rest) = rest.as_chunks::<4>();
        for w in halves {
            let w = u64::from(u32::from_le_bytes(*w));
            h = (h ^ w.wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        }
        for &b in rest {
            h = (h ^ u64::from(b).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        h = (h ^ (h >> 33)).wrapping_mul(P2);
        h = (h ^ (h >> 29)).wrapping_mul(P3);
        h ^ (h >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums that the reference implementation's documentation and its bindings publish.
    #[test]
    fn published_sums() {
        assert_eq!(Checksum::of(b""), 0xef46_db37_51d8_e999);
        assert_eq!(Checksum::of(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(Checksum::of(b"abc"), 0x44bc_2cf5_ad77_0999);
        assert_eq!(Checksum::of(b"Nobody inspects the spammish repetition"), 0xfbce_a83c_8a37_8bf1);
    }

    #[test]
    fn pieces_do_not_matter_and_every_bit_does() {
        let bytes: Vec<u8> = (0..201u32).map(|i| (i * 37 + 11) as u8).collect();
        for n in 0..bytes.len() {
            let whole = Checksum::of(&bytes[..n]);
            for size in [1, 7, 31, 33, 64] {
                let mut sum = Checksum::default();
                bytes[..n].chunks(size).for_each(|c| sum.update(c));
                assert_eq!(sum.finish(), whole, "{n} bytes in pieces of {size}");
            }
        }
        let whole = Checksum::of(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Checksum::of(&flipped), whole, "bit {bit}");
        }
    }
}
