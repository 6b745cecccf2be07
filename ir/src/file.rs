//! Files of models: mapped into memory for reading, found beneath a folder, written whole or not at all.
//!
//! A file that is mapped must not be shortened or rewritten in place while its bytes are in use;
//! [`write_whole`] replaces a file and leaves the old one to those who read it.

use crate::ffi;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The file's bytes, mapped. Pages are read when touched and shared by every slice of the result.
///
/// # Errors
/// Those of the operating system. An empty file gives no bytes.
pub fn map(file: &File) -> io::Result<Bytes> {
    ffi::map(file)
}

/// Gives back the memory behind bytes that are not needed for now, where they are those of a mapped file; anything else
/// stays as it is. The bytes stay valid: they are read again when touched.
pub fn release(bytes: &[u8]) {
    ffi::release(bytes);
}

/// The bytes of a regular file that is not empty, mapped.
///
/// # Errors
/// Why it cannot be read, in words.
pub fn open(path: &Path) -> Result<Bytes, String> {
    let meta = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if meta.is_dir() {
        return Err("it is a folder; name a file inside it".into());
    }
    if !meta.is_file() {
        return Err("it is no regular file".into());
    }
    if meta.len() == 0 {
        return Err("the file is empty".into());
    }
    let file = File::open(path).map_err(|e| e.to_string())?;
    map(&file).map_err(|e| format!("it cannot be mapped into memory: {e}"))
}

/// The path of a file that another file names, if it lies beneath `folder` without leaving it through `..` or
/// links. Parts are separated by `/`.
///
/// # Errors
/// Words that go on after the name: `is refused: ...` or `cannot be read: ...`.
pub fn beneath(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let refuse = |why: &str| Err(format!("is refused: {why}"));
    if location.is_empty() {
        return refuse("the path is empty");
    }
    if location.contains(['\\', '\0']) || location.contains(':') && cfg!(windows) {
        return refuse("the path must be relative, with '/' between its parts");
    }
    let mut path = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_path_buf() };
    for part in Path::new(location).components() {
        match part {
            Component::Normal(p) => path.push(p),
            Component::CurDir => continue,
            Component::ParentDir => return refuse("`..` would leave the model's folder"),
            Component::RootDir | Component::Prefix(_) => {
                return refuse("the path is absolute; it must lie beneath the model's folder");
            }
        }
        match std::fs::symlink_metadata(&path) {
            Err(e) => return Err(format!("cannot be read: {e}")),
            Ok(m) if m.file_type().is_symlink() => return refuse("links are not followed"),
            Ok(_) => {}
        }
    }
    match std::fs::metadata(&path) {
        Ok(m) if m.is_file() => Ok(path),
        _ => refuse("it is no regular file"),
    }
}

/// Writes a file that appears complete or not at all: into a neighbouring `.part` file, which is synchronised
/// with the disk and then renamed. What was at `path` stays until then.
///
/// # Errors
/// The first one of the system's or of `write`.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let part = part_beside(path)?;
    let done = File::create_new(&part).and_then(|file| {
        let mut buffered = BufWriter::new(&file);
        write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.sync_all()?;
        std::fs::rename(&part, path)
    });
    if done.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&part);
    }
    done
}

/// A name beside `path` that no other writer uses.
fn part_beside(path: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    let mut name = name.to_owned();
    name.push(format!(".{}-{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away with the value.
    struct Folder(PathBuf);
    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("fornax-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = Folder::new("write");
        let path = folder.0.join("a");
        write_whole(&path, |to| to.write_all(b"old")).unwrap();
        let failed = write_whole(&path, |to| to.write_all(b"new").and(Err(io::Error::other("no"))));
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write_whole(&path, |to| to.write_all(b"new")).unwrap();
        assert_eq!(open(&path).unwrap(), b"new"[..]);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "no part stays");
        assert!(write_whole(&folder.0.join("none/a"), |_| Ok(())).is_err());
        assert!(write_whole(Path::new("/"), |_| Ok(())).is_err());
    }

    #[test]
    fn released_bytes_are_read_again() {
        let folder = Folder::new("release");
        let path = folder.0.join("a");
        let data: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &data).unwrap();
        let mapped = open(&path).unwrap();
        let part = mapped.slice(4097..300_001);
        for bytes in [&part[..], &mapped[..], &part[..0]] {
            release(bytes);
            assert!(mapped == data[..] && part == data[4097..300_001]);
        }
        // Memory that is no file's is left alone.
        let own = data.clone();
        release(&own);
        assert_eq!(own, data);
        drop(mapped);
        release(&part);
        assert_eq!(part, data[4097..300_001]);
    }

    #[test]
    fn only_files_beneath_the_folder_are_found() {
        let folder = Folder::new("beneath");
        std::fs::create_dir_all(folder.0.join("in/deep")).unwrap();
        for file in ["out", "in/a", "in/deep/b"] {
            std::fs::write(folder.0.join(file), b"x").unwrap();
        }
        let inside = folder.0.join("in");
        assert_eq!(beneath(&inside, "./deep/b").unwrap(), inside.join("deep/b"));
        let absolute = inside.join("a");
        for bad in ["", "../out", "deep/../../out", absolute.to_str().unwrap(), "deep", "none", "a\\b"] {
            assert!(beneath(&inside, bad).is_err(), "{bad}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("a", inside.join("link")).unwrap();
            assert!(beneath(&inside, "link").unwrap_err().contains("links"));
        }
    }
}
