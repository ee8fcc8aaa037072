//! Machines that are made for a while only, such as one that is packaged. Each is noted in the home
//! before it is asked for; whoever makes it holds the note locked, so that what one that was killed left
//! is told from what is being made.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::agent::error::chain;
use crate::agent::perform::job::Failure;
use crate::agent::perform::settings::Performer;
use crate::config::files::create_folder;
use crate::config::files::read_bounded;
use crate::config::home::Home;
use crate::model::machine::IntentId;

/// Larger than any sound note.
const SIZE_MAX: u64 = 64 * 1024;

/// Notes that are looked at in one go.
const NOTES_MAX: usize = 256;

const STEP: &str = "give back what a killed command left";

/// What is noted.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// Version of the file.
    version: u32,
    compute_type: String,
    intent: IntentId,
}

/// A note that is held. Dropping it without [`Passing::forget`] leaves it to whoever comes next.
#[derive(Debug)]
pub(super) struct Passing {
    path: PathBuf,
    _lock: File,
}

impl Passing {
    /// Notes a machine down before it is asked for. The note is locked before it has its name.
    pub(super) fn note(home: &Home, compute_type: &str, intent: IntentId) -> Result<Self, Failure> {
        let failed = |why: String| Failure::at("write the wish for the machine down", why);
        let note = Note { version: 1, compute_type: compute_type.to_owned(), intent };
        let path = home.passing_file(intent);
        let text = serde_json::to_vec_pretty(&note).map_err(|error| failed(chain(&error)))?;
        create_folder(&home.passing_folder()).map_err(|error| failed(chain(&error)))?;
        let begun = path.with_extension("new");
        let kept = || -> io::Result<File> {
            let mut file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o600)
                .open(&begun)?;
            file.lock()?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&begun, &path)?;
            Ok(file)
        };
        let lock = kept().map_err(|error| failed(error.to_string()))?;
        Ok(Self { path, _lock: lock })
    }

    /// The machine is gone.
    pub(super) fn forget(self) {
        // Left behind it is harmless: no machine is found by it.
        let _left = fs::remove_file(&self.path);
    }
}

/// The notes of commands that are gone.
fn left(folder: &Path) -> Vec<(Note, Passing)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.take(NOTES_MAX).filter_map(held).collect()
}

/// A note with its lock; none where somebody holds it, or it cannot be read.
fn held(path: PathBuf) -> Option<(Note, Passing)> {
    let lock = File::open(&path).ok()?;
    lock.try_lock().ok()?;
    let note = serde_json::from_slice(&read_bounded(&path, SIZE_MAX).ok()?).ok()?;
    Some((note, Passing { path, _lock: lock }))
}

impl Performer {
    /// How many machines of killed commands may still be there.
    #[must_use]
    pub fn count_left(&self) -> usize {
        left(&self.home().passing_folder()).len()
    }

    /// Gives machines of killed commands back; how many there were.
    ///
    /// # Errors
    /// The first that could not be given back, after the others were; its note stays.
    pub async fn give_back_left(&self) -> Result<usize, Failure> {
        let (mut count, mut first) = (0, None);
        for (note, passing) in left(&self.home().passing_folder()) {
            match self.end_passing(&note.compute_type, note.intent).await {
                Ok(was_there) => {
                    count += usize::from(was_there);
                    passing.forget();
                }
                Err(failure) => _ = first.get_or_insert(failure),
            }
        }
        first.map_or(Ok(count), Err)
    }

    /// Destroys a machine of an intent; whether there was one.
    pub(super) async fn end_passing(
        &self,
        compute_type: &str,
        intent: IntentId,
    ) -> Result<bool, Failure> {
        let compute = self.compute(compute_type)?;
        let gone = match compute.find(intent).await {
            Ok(Some(machine)) => compute.destroy(&machine).await.map(|()| true),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        gone.map_err(|error| Failure::at(STEP, chain(&error)).with_hint(error.hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_somebody_holds_is_not_left() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        assert!(left(&home.passing_folder()).is_empty());
        let (one, two) = (IntentId::from_bytes([1; 10]), IntentId::from_bytes([2; 10]));
        let held = Passing::note(&home, "docker", one).unwrap();
        drop(Passing::note(&home, "docker", two).unwrap());
        fs::write(home.passing_folder().join("torn.json"), "{").unwrap();
        let found = left(&home.passing_folder());
        assert_eq!(found.iter().map(|(note, _)| note.intent).collect::<Vec<_>>(), [two]);
        for (_, passing) in found {
            passing.forget();
        }
        assert!(left(&home.passing_folder()).is_empty());
        drop(held);
        assert_eq!(left(&home.passing_folder()).len(), 1);
    }
}
