//! A place that keeps files by name. The places differ in how; what is asked of them is this.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use reqwest::Url;

use crate::backup::couch::Couch;
use crate::backup::credentials::Credentials;
use crate::backup::error::StoreError;
use crate::backup::file::Folder;
use crate::backup::s3::S3;
use crate::backup::sftp::Sftp;
use crate::backup::webdav::WebDav;

/// Ending of an archive's name.
pub const ENDING: &str = ".raptor";

/// The kinds of places, as their addresses begin; a path is a folder or a file here.
pub const SCHEMES: [&str; 8] =
    ["http", "https", "webdav", "webdavs", "s3", "sftp", "couchdb", "couchdbs"];

/// An answer of a store.
pub type Work<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A place that keeps files by name.
pub trait Store: Send + Sync {
    /// A file; none when there is none of that name.
    fn get<'a>(&'a self, name: &'a str) -> Work<'a, Option<Vec<u8>>>;
    /// Writes a file, in the place of one of that name.
    fn put<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> Work<'a, ()>;
    /// Takes a file away; done also when there is none.
    fn delete<'a>(&'a self, name: &'a str) -> Work<'a, ()>;
}

/// A place, and the one file in it that is meant, where the address names one.
pub struct Target {
    /// The address, for people.
    pub title: String,
    /// The place.
    pub store: Box<dyn Store>,
    /// The one archive that is meant; none where it is the place that is.
    pub file: Option<String>,
}

/// What opening a place needs besides its address.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// For whoever asks for some.
    pub credentials: Option<Credentials>,
    /// raptor's own file of known SSH host keys.
    pub known_hosts: PathBuf,
    /// The secret SSH key to offer.
    pub identity_file: Option<PathBuf>,
}

/// Opens the place at `address`. Nothing is contacted yet.
///
/// # Errors
/// The address makes no sense, or holds a password.
pub fn open(address: &str, access: Access) -> Result<Target, StoreError> {
    let refuse = |why: &str| StoreError::new(address, "use this address", why);
    if !address.contains("://") {
        let (folder, file) = split_name(address);
        let folder = if folder.is_empty() { "." } else { folder };
        let store = Box::new(Folder::new(PathBuf::from(folder)));
        return Ok(Target { title: address.to_owned(), store, file });
    }
    let url = Url::parse(address).map_err(|error| refuse(&error.to_string()))?;
    if url.password().is_some() {
        // Not repeated: it holds a password.
        let place = url.host_str().unwrap_or_default();
        let why = "a password does not belong into an address; name a secret, or a file";
        return Err(StoreError::new(place, "use this address", why));
    }
    let (path, file) = split_name(url.path());
    let mut place = url.clone();
    place.set_path(path);
    let credentials = access.credentials.clone();
    let store: Box<dyn Store> = match url.scheme() {
        "http" | "https" => Box::new(WebDav::plain(place, credentials)?),
        "webdav" | "webdavs" => Box::new(WebDav::open(&place, credentials)?),
        "couchdb" | "couchdbs" => Box::new(Couch::open(&place, credentials)?),
        "s3" => Box::new(S3::open(&place, credentials.as_ref())?),
        "sftp" => Box::new(Sftp::open(&place, access)?),
        other => {
            let known = SCHEMES.join(", ");
            return Err(refuse(&format!("{other:?} is none of {known}, nor a path")));
        }
    };
    Ok(Target { title: address.to_owned(), store, file })
}

/// A path's folder, and the archive in it that is meant.
fn split_name(path: &str) -> (&str, Option<String>) {
    match path.rsplit_once('/') {
        Some((folder, name)) if name.ends_with(ENDING) => {
            (if folder.is_empty() { "/" } else { folder }, Some(name.to_owned()))
        }
        None if path.ends_with(ENDING) => ("", Some(path.to_owned())),
        _ => (path, None),
    }
}

/// `http` for whoever says so, else `https`.
pub(super) fn with_scheme(url: &Url, is_secure: bool) -> Result<Url, StoreError> {
    let text = url.as_str();
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let scheme = if is_secure { "https" } else { "http" };
    Url::parse(&format!("{scheme}://{rest}"))
        .map_err(|error| StoreError::new(text, "use this address", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_means_a_place_or_one_archive_in_it() {
        for (path, folder, file) in [
            ("/a/b", "/a/b", None),
            ("/a/b/", "/a/b/", None),
            ("/a/x.raptor", "/a", Some("x.raptor")),
            ("x.raptor", "", Some("x.raptor")),
            ("/x.raptor", "/", Some("x.raptor")),
        ] {
            assert_eq!(split_name(path), (folder, file.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_and_a_password_is_not_repeated() {
        let error = |address: &str| open(address, Access::default()).err().unwrap().to_string();
        assert!(error("gopher://x/").contains("\"gopher\" is none of http, https"));
        let told = error("https://me:hunter2@host/b");
        assert!(told.contains("a password does not belong") && !told.contains("hunter2"), "{told}");
    }
}
