//! Files that people name: read whole, so only what has an end.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// More than any scenario has.
pub const SCENARIO_MOST: u64 = 16 << 20;
/// More than the output of any node or report has.
pub const OUTPUT_MOST: u64 = 1 << 30;

/// An error if it is no regular file or longer than that: a pipe may never end, and a device such as
/// `/dev/zero` does not.
pub fn check(path: &Path, most: u64) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    if found.len() > most {
        let mib = most >> 20;
        return Err(io::Error::other(format!("is longer than {mib} MiB")));
    }
    Ok(())
}

/// The bytes of a regular file that is no longer than that.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    check(path, most)?;
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_length_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "text").unwrap();
        assert_eq!(read(&file, 4).unwrap(), b"text");
        let long = File::create(dir.path().join("long")).unwrap();
        long.set_len(SCENARIO_MOST + 1).unwrap();
        let error = |path: &Path| read(path, SCENARIO_MOST).unwrap_err().to_string();
        assert_eq!(error(&dir.path().join("long")), "is longer than 16 MiB");
        assert!(error(dir.path()).contains("directory"));
        #[cfg(unix)]
        assert_eq!(error(Path::new("/dev/zero")), "is no regular file");
    }
}
