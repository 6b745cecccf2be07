//! The `.npy` format: NumPy's `numpy.lib.format`, versions 1 to 3.
//!
//! `\x93NUMPY`, two bytes of version, the header's length (2 bytes in version 1, else 4; little-endian), the header, and
//! the elements. The header is a Python dictionary of `descr`, `fortran_order` and `shape`.

use std::io::{Read, Write};

use fornax_ir::DType;
use fornax_ir::literal::{LiteralError, byte_count};

use super::ReadError;
use crate::tensor::Tensor;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// A header longer than this is not one that an array of numbers has.
const MAX_HEADER: usize = 64 << 10;

/// Data begin at a multiple of this many bytes, as NumPy writes them.
const ALIGNMENT: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq)]
struct Header {
    dtype: DType,
    /// The elements' bytes are in the other order than this machine's.
    swapped: bool,
    /// The first index runs fastest.
    fortran: bool,
    shape: Vec<usize>,
}

/// Reads an array that is at most `limit` bytes long, header included: the size of its file, or of its unpacked
/// archive member. Big-endian and Fortran-ordered data are converted.
pub(super) fn read(mut source: impl Read, limit: u64) -> Result<Tensor, ReadError> {
    let (text, consumed) = header_text(&mut source)?;
    let Header { dtype, swapped, fortran, shape } = parse(&text)?;
    let want = byte_count(dtype, &shape)?;
    let there = limit.saturating_sub(consumed);
    let short = || ReadError::Short { shape: format!("{dtype}{shape:?}"), want: want as u64, got: there };
    if want as u64 > there {
        return Err(short());
    }
    let mut words: Vec<u64> = Vec::new();
    words.try_reserve_exact(want.div_ceil(8)).map_err(|_| LiteralError::TooLarge(shape.clone()))?;
    words.resize(want.div_ceil(8), 0);
    let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..want];
    source.read_exact(bytes).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => short(),
        _ => ReadError::Io(e),
    })?;
    // Reading to the very end also makes an archive check the member's sum.
    if source.read(&mut [0])? != 0 {
        return Err(ReadError::Header(format!("data go on after {dtype}{shape:?}")));
    }
    if swapped {
        bytes.chunks_exact_mut(dtype.bytes()).for_each(<[u8]>::reverse);
    }
    if dtype == DType::Bool {
        bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    if fortran && shape.len() > 1 {
        return Ok(Tensor::from_bytes(row_major(bytes, dtype.bytes(), &shape), dtype, &shape)?);
    }
    Ok(Tensor::from_words(words, dtype, &shape)?)
}

fn malformed(what: impl Into<String>) -> ReadError {
    ReadError::Header(what.into())
}

/// The header's text, and the number of bytes up to the data.
fn header_text(source: &mut impl Read) -> Result<(String, u64), ReadError> {
    let ends = |_| malformed("it ends within its header");
    let mut start = [0; 10];
    source.read_exact(&mut start).map_err(ends)?;
    if &start[..6] != MAGIC {
        return Err(malformed("it does not begin as an array of NumPy does"));
    }
    let mut length = usize::from(u16::from_le_bytes([start[8], start[9]]));
    let mut consumed = start.len();
    match start[6] {
        1 => {}
        2 | 3 => {
            let mut high = [0; 2];
            source.read_exact(&mut high).map_err(ends)?;
            length += usize::from(u16::from_le_bytes(high)) << 16;
            consumed += high.len();
        }
        version => return Err(malformed(format!("version {version} of the format is unknown"))),
    }
    if length > MAX_HEADER {
        return Err(malformed(format!("its header claims {length} bytes; at most {MAX_HEADER} are read")));
    }
    let mut text = vec![0; length];
    source.read_exact(&mut text).map_err(ends)?;
    let text = String::from_utf8(text).map_err(|_| malformed("its header is no text"))?;
    Ok((text, (consumed + length) as u64))
}

/// The rest of a header's text.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// Takes this sign, after blanks.
    fn take(&mut self, sign: char) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(sign);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, sign: char) -> Result<(), ReadError> {
        let seen: String = self.0.chars().take(20).collect();
        if self.take(sign) {
            Ok(())
        } else {
            Err(malformed(format!("its header lacks `{sign}` at `{seen}`")))
        }
    }

    /// A string in single or double quotes, without escapes.
    fn string(&mut self) -> Result<&'a str, ReadError> {
        let quote = if self.take('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.expect(quote)?;
        }
        let (text, rest) =
            self.0.split_once(quote).ok_or_else(|| malformed("a string of its header has no end"))?;
        self.0 = rest;
        Ok(text)
    }

    /// Letters, digits and signs up to the next bracket, comma or blank.
    fn word(&mut self) -> &'a str {
        self.0 = self.0.trim_start();
        let end = self.0.find(|c: char| "()[]{},:".contains(c) || c.is_whitespace()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    /// `(2, 3)`, `(2,)` or `()`; Python 2 may write `2L`.
    fn shape(&mut self) -> Result<Vec<usize>, ReadError> {
        self.expect('(')?;
        let mut shape = Vec::new();
        while !self.take(')') {
            let word = self.word();
            let extent = word.strip_suffix('L').unwrap_or(word).parse();
            shape.push(extent.map_err(|_| malformed(format!("`{word}` in its shape is no extent")))?);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }
}

fn parse(text: &str) -> Result<Header, ReadError> {
    let mut at = Cursor(text);
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    at.expect('{')?;
    while !at.take('}') {
        let key = at.string()?;
        at.expect(':')?;
        match key {
            "descr" => descr = Some(element(&mut at)?),
            "fortran_order" => {
                fortran = Some(match at.word() {
                    "True" => true,
                    "False" => false,
                    other => return Err(malformed(format!("`{other}` is no order"))),
                });
            }
            "shape" => shape = Some(at.shape()?),
            other => return Err(malformed(format!("its header has an unknown key `{other}`"))),
        }
        if !at.take(',') {
            at.expect('}')?;
            break;
        }
    }
    let missing = |key: &str| malformed(format!("its header has no `{key}`"));
    let (dtype, swapped) = descr.ok_or_else(|| missing("descr"))?;
    let fortran = fortran.ok_or_else(|| missing("fortran_order"))?;
    Ok(Header { dtype, swapped, fortran, shape: shape.ok_or_else(|| missing("shape"))? })
}

/// The dtype of the elements, and whether their bytes are in the other order.
fn element(at: &mut Cursor<'_>) -> Result<(DType, bool), ReadError> {
    if at.0.trim_start().starts_with(['[', '(']) {
        let shown: String = at.0.trim_start().chars().take(60).collect();
        return Err(ReadError::Dtype(format!("{shown}.. (records)")));
    }
    let text = at.string()?;
    let (order, name) = match text.chars().next() {
        Some(order @ ('<' | '>' | '|' | '=')) => (order, &text[1..]),
        _ => ('=', text),
    };
    let Some((_, dtype)) = NAMES.iter().find(|(known, _)| *known == name) else {
        let hint = if name.starts_with('O') { " (Python objects)" } else { "" };
        return Err(ReadError::Dtype(format!("'{text}'{hint}")));
    };
    let foreign = if cfg!(target_endian = "little") { '>' } else { '<' };
    Ok((*dtype, dtype.bytes() > 1 && order == foreign))
}

/// NumPy's names of dtypes without the order of bytes; it has none for bfloat16.
const NAMES: [(&str, DType); 12] = [
    ("b1", DType::Bool),
    ("i1", DType::I8),
    ("u1", DType::U8),
    ("i2", DType::I16),
    ("u2", DType::U16),
    ("i4", DType::I32),
    ("u4", DType::U32),
    ("i8", DType::I64),
    ("u8", DType::U64),
    ("f2", DType::F16),
    ("f4", DType::F32),
    ("f8", DType::F64),
];

/// Elements in column-major order, put into row-major order.
fn row_major(bytes: &[u8], width: usize, shape: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut strides = vec![width; shape.len()];
    for k in 1..shape.len() {
        strides[k] = strides[k - 1] * shape[k - 1];
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    while out.len() < bytes.len() {
        out.extend_from_slice(&bytes[at..at + width]);
        for k in (0..shape.len()).rev() {
            index[k] += 1;
            at += strides[k];
            if index[k] < shape[k] {
                break;
            }
            at -= strides[k] * shape[k];
            index[k] = 0;
        }
    }
    out
}

/// Writes an array. NumPy knows no bfloat16, so that is written as the f32 of the same values.
pub(super) fn write(tensor: &Tensor, mut to: impl Write) -> std::io::Result<()> {
    let Some((name, _)) = NAMES.iter().find(|(_, dtype)| *dtype == tensor.dtype()) else {
        let widened = Tensor::from_f64s(tensor.to_f64_vec(), DType::F32, tensor.shape());
        return write(&widened.map_err(std::io::Error::other)?, to);
    };
    let order = match tensor.dtype().bytes() {
        1 => '|',
        _ if cfg!(target_endian = "little") => '<',
        _ => '>',
    };
    let extents: String = tensor.shape().iter().map(|n| format!("{n}, ")).collect();
    let shape = extents.strip_suffix(if tensor.shape().len() > 1 { ", " } else { " " }).unwrap_or(&extents);
    let mut header = format!("{{'descr': '{order}{name}', 'fortran_order': False, 'shape': ({shape}), }}");
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGNMENT);
    header.push_str(&" ".repeat(padded - before - header.len() - 1));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(std::io::Error::other)?;
    to.write_all(MAGIC)?;
    to.write_all(&[1, 0])?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(header.as_bytes())?;
    to.write_all(tensor.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }
    fn parsed(bytes: &[u8]) -> Result<Tensor, ReadError> {
        read(bytes, bytes.len() as u64)
    }

    #[test]
    fn every_dtype_comes_back() {
        for row in fornax_ir::dtype::DTYPES.iter().filter(|row| row.dtype != DType::BF16) {
            for shape in [&[][..], &[5], &[0, 3], &[2, 3]] {
                let n: usize = shape.iter().product();
                let t = Tensor::from_f64s((0..n).map(|i| i as f64), row.dtype, shape).unwrap();
                let mut bytes = Vec::new();
                write(&t, &mut bytes).unwrap();
                assert_eq!((bytes.len() - t.bytes().len()) % ALIGNMENT, 0);
                assert_eq!(parsed(&bytes).unwrap(), t, "{}", row.name);
            }
        }
        let t = Tensor::from_f64s([1.0, 0.5], DType::BF16, &[2]).unwrap();
        let mut bytes = Vec::new();
        write(&t, &mut bytes).unwrap();
        assert_eq!(parsed(&bytes).unwrap().as_slice::<f32>().unwrap(), [1.0, 0.5]);
    }

    #[test]
    fn big_endian_and_fortran_order_are_converted() {
        let data: Vec<u8> = [0u16, 1, 2, 3, 4, 5].iter().flat_map(|v| v.to_be_bytes()).collect();
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }";
        let t = parsed(&file(header, &data)).unwrap();
        assert_eq!((t.shape(), t.as_slice::<i16>().unwrap()), (&[2, 3][..], &[0, 2, 4, 1, 3, 5][..]));
        let header = r#"{"shape": (1L,), "fortran_order":False,"descr":">f4"}  "#;
        assert_eq!(parsed(&file(header, &1.5f32.to_be_bytes())).unwrap().to_f64_vec(), [1.5]);
    }

    #[test]
    fn what_is_not_an_array_of_numbers_is_refused() {
        let check = |bytes: &[u8], part: &str| {
            let error = parsed(bytes).expect_err(part).to_string();
            assert!(error.contains(part), "{error} lacks {part}");
        };
        let head = |descr: &str, shape: &str| {
            file(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"), &[0; 8])
        };
        check(b"", "header");
        check(b"PK\x03\x04 not an array", "NumPy");
        check(&head("'|O'", "(1,)"), "Python objects");
        check(&head("'<c8'", "(1,)"), "'<c8'");
        check(&head("'<f3'", "(1,)"), "'<f3'");
        check(&head("[('a', '<f4')]", "(1,)"), "records");
        check(&head("'<f4'", "(3,)"), "12 bytes");
        check(&head("'<f4'", "(1,)"), "go on");
        check(&head("'<f4'", "(4294967296, 4294967296, 16)"), "more elements than memory");
        check(&head("'<f4'", "(99999999999,)"), "399999999996 bytes");
        check(&head("'<f4'", "(-1,)"), "`-1`");
        check(&head("'<f4'", "(99999999999999999999999,)"), "no extent");
        check(&head("'<f4'", "((1,),)"), "no extent");
        check(&head("'<f4'", &"(".repeat(9999)), "no extent");
        check(&file("{'descr': '<f4', 'shape': (1,)", &[]), "`}`");
        check(&file("{'descr': '<f4', 'shape': (1,)}", &[]), "fortran_order");
        check(&file("{'descr': '<f4", &[]), "no end");
        check(&[&b"\x93NUMPY\x02\x00"[..], &[255; 4]].concat(), "4294967295");
        check(&[&b"\x93NUMPY\x09\x00"[..], &[0; 4]].concat(), "version 9");
    }
}
