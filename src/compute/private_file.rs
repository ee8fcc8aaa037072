//! Files with a secret in them, which nobody else may read.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// The text of such a file, of at most `length_max` bytes; or why it is refused.
pub(super) fn read(path: &Path, length_max: u64) -> Result<Zeroizing<String>, String> {
    let told = |error: io::Error| error.to_string();
    let file = File::open(path).map_err(told)?;
    // Of the file that is open: at its path there may be another by then.
    let mode = file.metadata().map_err(told)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others may read it (mode {mode:04o}, expected 0600)"));
    }
    let mut text = Zeroizing::new(String::new());
    let length = file.take(length_max + 1).read_to_string(&mut text).map_err(told)?;
    if length as u64 > length_max {
        return Err("it is too long for a secret".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_a_private_file_of_a_bounded_length_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "hunter2\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(*read(&path, 8).unwrap(), "hunter2\n");
        assert_eq!(read(&path, 7).unwrap_err(), "it is too long for a secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read(&path, 8).unwrap_err();
        assert_eq!(refused, "others may read it (mode 0640, expected 0600)");
        assert!(read(&folder.path().join("none"), 8).is_err());
    }
}
