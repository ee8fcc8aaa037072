//! Where plug-ins are, and whether one may be run.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use sha2::Digest;
use sha2::Sha256;

use crate::compute::plugin::error::PluginCause;
use crate::compute::plugin::settings::is_name;

/// What the names of plug-ins begin with.
pub const PREFIX: &str = "raptor-provider-";

/// A plug-in that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What stands behind [`PREFIX`].
    pub name: String,
    /// The program.
    pub path: PathBuf,
}

/// The folders that are looked through, in order: the configured one, the home's own, and `PATH`.
#[must_use]
pub fn folders(configured: Option<&Path>, own: &Path) -> Vec<PathBuf> {
    folders_of(configured, own, env::var_os("PATH").as_deref())
}

fn folders_of(configured: Option<&Path>, own: &Path, path: Option<&OsStr>) -> Vec<PathBuf> {
    let path = path.map(|path| env::split_paths(path).collect()).unwrap_or_default();
    let path: Vec<PathBuf> = path;
    // What lies where somebody happens to stand is nobody's plug-in.
    let path = path.into_iter().filter(|folder| folder.is_absolute());
    let first = configured.into_iter().chain([own]).map(Path::to_owned);
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in first.chain(path) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// The program of plug-in `name`: the first that is there.
pub(super) fn find(name: &str, folders: &[PathBuf]) -> Result<PathBuf, PluginCause> {
    let file = format!("{PREFIX}{name}");
    let mut places = folders.iter().map(|folder| folder.join(&file));
    let missing = || PluginCause::Missing { name: name.to_owned(), looked: folders.to_vec() };
    places.find(|place| place.is_file()).ok_or_else(missing)
}

/// All plug-ins in `folders`, by name; of two of one name the one that would be run.
#[must_use]
pub fn all(folders: &[PathBuf]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let name = file.to_str().and_then(|file| file.strip_prefix(PREFIX));
            let Some(name) = name.filter(|name| is_name(name)) else { continue };
            let path = entry.path();
            if path.is_file() && found.iter().all(|known| known.name != name) {
                found.push(Found { name: name.to_owned(), path });
            }
        }
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    found
}

/// Refuses a program that others may write, that is none, or that is not the pinned one. It is
/// looked at before every call.
pub(super) fn examine(path: &Path, pinned: Option<&str>) -> Result<(), PluginCause> {
    let refuse = |why: String| PluginCause::Distrusted { path: path.to_owned(), why };
    let metadata = fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    let mode = metadata.permissions().mode();
    if !metadata.is_file() || mode & 0o111 == 0 {
        return Err(refuse("it is not executable".to_owned()));
    }
    if mode & 0o002 != 0 {
        return Err(refuse(format!("everybody may write it (mode {:04o})", mode & 0o7777)));
    }
    let Some(pinned) = pinned else { return Ok(()) };
    let found = digest(path)?;
    if found.eq_ignore_ascii_case(pinned) {
        return Ok(());
    }
    let expected = pinned.to_ascii_lowercase();
    Err(PluginCause::Digest { path: path.to_owned(), expected, found })
}

/// The SHA-256 of a program, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn digest(path: &Path) -> Result<String, PluginCause> {
    let mut hash = Sha256::new();
    let read = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
    read.map_err(|error| {
        let why = error.to_string();
        PluginCause::Distrusted { path: path.to_owned(), why }
    })?;
    Ok(HEXLOWER.encode(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(format!("{PREFIX}{name}"));
        fs::create_dir_all(folder).unwrap();
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_configured_folder_goes_before_the_own_and_that_before_path() {
        let root = tempfile::tempdir().unwrap();
        let [given, own, path] = ["given", "own", "path"].map(|name| root.path().join(name));
        let in_path = [program(&path, "a", 0o755), program(&path, "b", 0o755)];
        let in_own = program(&own, "a", 0o755);
        let folders = folders_of(Some(&given), &own, Some(OsStr::new("rel")));
        assert_eq!(folders, [given.clone(), own.clone()]);
        let folders = folders_of(Some(&given), &own, Some(path.as_os_str()));
        assert_eq!(find("a", &folders).unwrap(), in_own);
        assert_eq!(find("b", &folders).unwrap(), in_path[1]);
        let in_given = program(&given, "a", 0o755);
        assert_eq!(find("a", &folders).unwrap(), in_given);
        program(&own, "-x", 0o755);
        let found = all(&folders).into_iter().map(|found| found.path).collect::<Vec<_>>();
        assert_eq!(found, [in_given, in_path[1].clone()]);
        let error = find("c", &folders).unwrap_err().to_string();
        assert!(error.starts_with("there is no program raptor-provider-c in /"), "{error}");
    }

    #[test]
    fn only_a_trusted_program_and_the_pinned_one_are_run() {
        let root = tempfile::tempdir().unwrap();
        let path = program(root.path(), "a", 0o755);
        let pin = digest(&path).unwrap();
        examine(&path, None).unwrap();
        examine(&path, Some(&pin.to_ascii_uppercase())).unwrap();
        fs::write(&path, "#!/bin/sh\nrm -rf /\n").unwrap();
        let error = examine(&path, Some(&pin)).unwrap_err();
        assert!(matches!(error, PluginCause::Digest { .. }), "{error}");
        for (mode, why) in
            [(0o644, "not executable"), (0o757, "everybody may write it (mode 0757)")]
        {
            let path = program(root.path(), "b", mode);
            let error = examine(&path, None).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(examine(root.path(), None).is_err());
    }
}
