//! The `.npy` format (NumPy's `numpy.lib.format`, versions 1 to 3).

use std::io::{Read, Write};

use fornax_ir::DType;
use fornax_ir::literal::byte_count;
use npyz::{Endianness, NpyHeader, Order, TypeChar, WriterBuilder};

use super::ReadError;
use crate::tensor::Tensor;

/// A header longer than this is not one that an array of numbers has.
const MAX_HEADER: usize = 64 << 10;

/// Brackets within brackets beyond this are no header of an array of numbers; it bounds the parser's recursion.
const MAX_NESTING: usize = 16;

/// Reads an array that is at most `limit` bytes long, header included: the size of its file, or of its unpacked
/// archive member. Big-endian and Fortran-ordered data are converted.
pub(super) fn read(mut source: impl Read, limit: u64) -> Result<Tensor, ReadError> {
    let head = read_header(&mut source)?;
    let header = NpyHeader::from_reader(&head[..]).map_err(|e| ReadError::Header(e.to_string()))?;
    let (dtype, swapped) = element(&header.dtype())?;
    let shape: Vec<usize> =
        header.shape().iter().map(|&d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
    let want = byte_count(dtype, &shape)?;
    let there = limit.saturating_sub(head.len() as u64);
    if want as u64 > there {
        let shape = format!("{dtype}{shape:?}");
        return Err(ReadError::Short { shape, want: want as u64, got: there });
    }
    let mut words = vec![0u64; want.div_ceil(8)];
    let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..want];
    source.read_exact(bytes).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            ReadError::Short { shape: format!("{dtype}{shape:?}"), want: want as u64, got: there }
        }
        _ => ReadError::Io(e),
    })?;
    if swapped {
        bytes.chunks_exact_mut(dtype.bytes()).for_each(<[u8]>::reverse);
    }
    if dtype == DType::Bool {
        bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    if header.order() == Order::Fortran && shape.len() > 1 {
        return Ok(Tensor::from_bytes(row_major(bytes, dtype.bytes(), &shape), dtype, &shape)?);
    }
    Ok(Tensor::from_words(words, dtype, &shape)?)
}

/// The magic, version, length and text of a header.
fn read_header(source: &mut impl Read) -> Result<Vec<u8>, ReadError> {
    let malformed = |what: &str| ReadError::Header(what.to_string());
    let mut head = vec![0; 10];
    source.read_exact(&mut head).map_err(|_| malformed("it ends within the header"))?;
    if &head[..6] != b"\x93NUMPY" {
        return Err(malformed("it does not begin as an array of NumPy does"));
    }
    let mut length = usize::from(u16::from_le_bytes([head[8], head[9]]));
    if head[6] > 1 {
        let mut high = [0; 2];
        source.read_exact(&mut high).map_err(|_| malformed("it ends within the header"))?;
        head.extend(high);
        length += usize::from(u16::from_le_bytes(high)) << 16;
    }
    if length > MAX_HEADER {
        return Err(malformed(&format!("its header claims {length} bytes; at most {MAX_HEADER} are read")));
    }
    let start = head.len();
    head.resize(start + length, 0);
    source.read_exact(&mut head[start..]).map_err(|_| malformed("it ends within the header"))?;
    let mut open = 0usize;
    for byte in &head[start..] {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_NESTING {
            return Err(malformed("its header is nested too deeply"));
        }
    }
    Ok(head)
}

/// The dtype of the elements, and whether their bytes are in the other order.
fn element(dtype: &npyz::DType) -> Result<(DType, bool), ReadError> {
    let refuse = || {
        let hint = if dtype.uses_pickled_array() { " (an array of Python objects)" } else { "" };
        ReadError::Dtype(format!("{}{hint}", dtype.descr()))
    };
    let npyz::DType::Plain(plain) = dtype else { return Err(refuse()) };
    let found = match (plain.type_char(), plain.size_field()) {
        (TypeChar::Bool, 1) => DType::Bool,
        (TypeChar::Int, 1) => DType::I8,
        (TypeChar::Int, 2) => DType::I16,
        (TypeChar::Int, 4) => DType::I32,
        (TypeChar::Int, 8) => DType::I64,
        (TypeChar::Uint, 1) => DType::U8,
        (TypeChar::Uint, 2) => DType::U16,
        (TypeChar::Uint, 4) => DType::U32,
        (TypeChar::Uint, 8) => DType::U64,
        (TypeChar::Float, 2) => DType::F16,
        (TypeChar::Float, 4) => DType::F32,
        (TypeChar::Float, 8) => DType::F64,
        _ => return Err(refuse()),
    };
    let foreign = if cfg!(target_endian = "little") { Endianness::Big } else { Endianness::Little };
    Ok((found, found.bytes() > 1 && plain.endianness() == foreign))
}

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

/// NumPy's name of a dtype; bfloat16 has none.
fn type_string(dtype: DType) -> Option<String> {
    let kind = match dtype {
        DType::Bool => "|b1".to_string(),
        DType::BF16 => return None,
        _ => {
            let letter = if dtype.is_float() {
                'f'
            } else if dtype.is_signed_int() {
                'i'
            } else {
                'u'
            };
            let order = match dtype.bytes() {
                1 => '|',
                _ if cfg!(target_endian = "little") => '<',
                _ => '>',
            };
            format!("{order}{letter}{}", dtype.bytes())
        }
    };
    Some(kind)
}

/// Writes an array. NumPy knows no bfloat16, so that is written as the f32 of the same values.
pub(super) fn write(tensor: &Tensor, mut to: impl Write) -> std::io::Result<()> {
    let widened;
    let (tensor, name) = match type_string(tensor.dtype()) {
        Some(name) => (tensor, name),
        None => {
            widened = Tensor::from_f64s(tensor.to_f64_vec(), DType::F32, tensor.shape())
                .map_err(std::io::Error::other)?;
            (&widened, type_string(DType::F32).expect("f32 has a name"))
        }
    };
    let plain = name.parse().map_err(|_| std::io::Error::other("an array's dtype has no name"))?;
    let shape: Vec<u64> = tensor.shape().iter().map(|&d| d as u64).collect();
    npyz::WriteOptions::new_header_only()
        .dtype(npyz::DType::Plain(plain))
        .shape(&shape)
        .writer(&mut to)
        .write_header_only()?;
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
    fn parse(bytes: &[u8]) -> Result<Tensor, ReadError> {
        read(bytes, bytes.len() as u64)
    }

    #[test]
    fn every_dtype_comes_back() {
        for row in fornax_ir::dtype::DTYPES.iter().filter(|row| row.dtype != DType::BF16) {
            for shape in [&[][..], &[0, 3], &[2, 3]] {
                let n: usize = shape.iter().product();
                let t = Tensor::from_f64s((0..n).map(|i| i as f64), row.dtype, shape).unwrap();
                let mut bytes = Vec::new();
                write(&t, &mut bytes).unwrap();
                assert_eq!(parse(&bytes).unwrap(), t, "{}", row.name);
            }
        }
        let t = Tensor::from_f64s([1.0, 0.5], DType::BF16, &[2]).unwrap();
        let mut bytes = Vec::new();
        write(&t, &mut bytes).unwrap();
        assert_eq!(parse(&bytes).unwrap().as_slice::<f32>().unwrap(), [1.0, 0.5]);
    }

    #[test]
    fn big_endian_and_fortran_order_are_converted() {
        let data: Vec<u8> = [0u16, 1, 2, 3, 4, 5].iter().flat_map(|v| v.to_be_bytes()).collect();
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }";
        let t = parse(&file(header, &data)).unwrap();
        assert_eq!((t.shape(), t.as_slice::<i16>().unwrap()), (&[2, 3][..], &[0, 2, 4, 1, 3, 5][..]));
        let header = "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }";
        assert_eq!(parse(&file(header, &1.5f32.to_be_bytes())).unwrap().to_f64_vec(), [1.5]);
    }

    #[test]
    fn what_is_not_an_array_of_numbers_is_refused() {
        let check = |bytes: &[u8], part: &str| {
            let error = parse(bytes).expect_err(part).to_string();
            assert!(error.contains(part), "{error} lacks {part}");
        };
        let head = |descr: &str, shape: &str| {
            file(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"), &[0; 8])
        };
        check(b"", "header");
        check(b"PK\x03\x04 not an array", "NumPy");
        check(&head("'|O'", "(1,)"), "Python objects");
        check(&head("'<c8'", "(1,)"), "'<c8'");
        check(&head("[('a', '<f4')]", "(1,)"), "('a', '<f4')");
        check(&head("'<f4'", "(3,)"), "12 bytes");
        check(&head("'<f4'", "(4294967296, 4294967296, 16)"), "more elements than memory");
        check(&head("'<f4'", "(99999999999,)"), "399999999996 bytes");
        check(&head("'<f4'", "(-1,)"), "negative");
        check(&head("'<f4'", &"(".repeat(9999)), "nested");
        check(&[&b"\x93NUMPY\x02\x00"[..], &[255; 4]].concat(), "4294967295");
    }
}
