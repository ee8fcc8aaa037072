//! Backups in a folder of this computer.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::backup::error::StoreError;
use crate::backup::keep::ARCHIVE_SIZE_MAX;
use crate::backup::store::Store;
use crate::backup::store::Work;
use crate::config::files;

pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn fail(&self, step: String) -> impl FnOnce(String) -> StoreError {
        let place = self.0.display().to_string();
        move |why| StoreError { place, step, why }
    }
}

impl Store for Folder {
    fn get<'a>(&'a self, name: &'a str) -> Work<'a, Option<Vec<u8>>> {
        let (path, fail) = (self.0.join(name), self.fail(format!("read {name}")));
        Box::pin(async move {
            let work = move || files::read_bounded(&path, ARCHIVE_SIZE_MAX);
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(bytes)) => Ok(Some(bytes)),
                Ok(Err(error)) if error.source.kind() == ErrorKind::NotFound => Ok(None),
                Ok(Err(error)) => Err(fail(error.source.to_string())),
                Err(error) => Err(fail(error.to_string())),
            }
        })
    }

    fn put<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> Work<'a, ()> {
        let (folder, path, bytes) = (self.0.clone(), self.0.join(name), bytes.to_vec());
        let fail = self.fail(format!("write {name}"));
        Box::pin(async move {
            let work = move || {
                files::create_folder(&folder)?;
                files::write_atomic(&path, &bytes)
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(fail(error.source.to_string())),
                Err(error) => Err(fail(error.to_string())),
            }
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> Work<'a, ()> {
        Box::pin(async move {
            match tokio::fs::remove_file(self.0.join(name)).await {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(self.fail(format!("remove {name}"))(error.to_string()))
                }
                _ => Ok(()),
            }
        })
    }
}
