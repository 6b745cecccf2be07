//! The `.npz` format: a zip archive of `.npy` members.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{FileError, ReadError, npy};
use crate::tensor::Tensor;
use fornax_ir::file::write_whole;

/// A deflated member is at most this many times as long as its packed form; deflate itself reaches about 1032.
const MAX_DEFLATE_RATIO: u64 = 1100;

/// Reads every array of an `.npz` archive (stored or deflated members), in the archive's order, by name.
///
/// # Errors
/// [`FileError`] when the file cannot be read, is no archive, or a member is no array of numbers.
pub fn read_npz(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>, FileError> {
    let path = path.as_ref();
    let archive = || -> Result<Vec<(String, Tensor)>, ReadError> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(ReadError::Archive("it is a folder".into()));
        }
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(zip_error)?;
        (0..archive.len()).map(|i| read_member(&mut archive, i)).collect()
    };
    archive().map_err(|e| e.at(path))
}

fn zip_error(error: ZipError) -> ReadError {
    match error {
        ZipError::Io(error) => ReadError::Io(error),
        other => ReadError::Archive(other.to_string()),
    }
}

fn read_member(
    archive: &mut ZipArchive<BufReader<File>>,
    index: usize,
) -> Result<(String, Tensor), ReadError> {
    let member = archive.by_index(index).map_err(zip_error)?;
    let name = member.name().map_err(zip_error)?;
    let name = name.strip_suffix(".npy").unwrap_or(&name).to_string();
    let most = member.compressed_size().saturating_mul(MAX_DEFLATE_RATIO);
    let length = member.size().min(most);
    let tensor = npy::read(member, length)
        .map_err(|source| ReadError::Member { name: name.clone(), source: Box::new(source) })?;
    Ok((name, tensor))
}

/// Writes arrays as an `.npz` archive of stored members. The file appears complete or not at all.
///
/// # Errors
/// [`std::io::Error`] when the system refuses.
pub fn write_npz<'a>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> std::io::Result<()> {
    write_whole(path.as_ref(), |to| {
        let mut archive = ZipWriter::new(to);
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, tensor) in arrays {
            let options = options.large_file(tensor.bytes().len() >= u32::MAX as usize - MAX_NPY_HEADER);
            archive.start_file(format!("{name}.npy"), options)?;
            npy::write(tensor, &mut archive)?;
        }
        archive.finish()?;
        Ok(())
    })
}

/// More than the header of any array takes.
const MAX_NPY_HEADER: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn archives_come_back_stored_and_deflated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let x = Tensor::from_slice(&[1i64, 2, 3], &[3]).unwrap();
        let y = Tensor::from_bools(&[true, false], &[1, 2]).unwrap();
        write_npz(&path, [("x", &x), ("scope/y:0", &y)]).unwrap();
        let read = read_npz(&path).unwrap();
        assert_eq!(read, [("x".to_string(), x.clone()), ("scope/y:0".to_string(), y)]);
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(left, ["a.npz"], "no partial file stays");

        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        archive.start_file("x.npy", deflated).unwrap();
        npy::write(&x, &mut archive).unwrap();
        archive.finish().unwrap();
        assert_eq!(read_npz(&path).unwrap(), [("x".to_string(), x)]);
    }

    #[test]
    fn broken_archives_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let refuse = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_npz(&path).expect_err("broken").to_string()
        };
        assert!(refuse(b"").contains("a.npz"));
        assert!(refuse(b"no archive at all, but some text").contains(".npz archive"));
        let x = Tensor::from_slice(&[1i64; 100], &[100]).unwrap();
        write_npz(&path, [("x", &x)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        refuse(&whole[..whole.len() / 2]);
        let mut flipped = whole.clone();
        flipped[400] ^= 1;
        refuse(&flipped);

        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        archive.start_file("x.npy", SimpleFileOptions::default()).unwrap();
        archive.write_all(b"text").unwrap();
        archive.finish().unwrap();
        assert!(read_npz(&path).unwrap_err().to_string().contains("array 'x'"));
        assert!(read_npz(folder.path()).unwrap_err().to_string().contains("folder"));
        assert!(write_npz(folder.path().join("none/b.npz"), [("x", &x)]).is_err());
    }
}
