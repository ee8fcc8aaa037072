//! Backups by plain HTTP (`PUT`, `GET`, `DELETE`) and by `WebDAV`, which wants folders made (RFC 4918).

use reqwest::{Method, StatusCode, Url};

use crate::backup::credentials::Credentials;
use crate::backup::error::StoreError;
use crate::backup::store::Store;
use crate::backup::store::Work;
use crate::backup::store::with_scheme;
use crate::backup::web::Web;

pub(super) struct WebDav {
    web: Web,
    makes_folders: bool,
}

impl WebDav {
    /// Plain HTTP.
    pub(super) fn plain(url: Url, credentials: Option<Credentials>) -> Result<Self, StoreError> {
        Ok(Self { web: Web::open(url, credentials)?, makes_folders: false })
    }

    /// `webdav://`, and `webdavs://` over TLS.
    pub(super) fn open(url: &Url, credentials: Option<Credentials>) -> Result<Self, StoreError> {
        let web = Web::open(with_scheme(url, url.scheme() == "webdavs")?, credentials)?;
        Ok(Self { web, makes_folders: true })
    }

    /// Makes the place and the folders above it; those that are there say so, which is no matter.
    async fn make_folders(&self, step: &str) -> Result<(), StoreError> {
        let place = self.web.url("./")?;
        let mut path = String::from("/");
        for part in place.path().split('/').filter(|part| !part.is_empty()) {
            path.push_str(part);
            path.push('/');
            let mut url = place.clone();
            url.set_path(&path);
            let method = Method::from_bytes(b"MKCOL")
                .map_err(|error| self.web.fail(step, error.to_string()))?;
            self.web.send(step, self.web.request(method, url)).await?;
        }
        Ok(())
    }
}

impl Store for WebDav {
    fn get<'a>(&'a self, name: &'a str) -> Work<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let step = format!("read {name}");
            let request = self.web.request(Method::GET, self.web.url(name)?);
            let answer = self.web.send(&step, request).await?;
            match answer.status {
                status if status.is_success() => Ok(Some(answer.body)),
                StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
                _ => Err(self.web.refused(&step, &answer)),
            }
        })
    }

    fn put<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> Work<'a, ()> {
        Box::pin(async move {
            let step = format!("write {name}");
            let url = self.web.url(name)?;
            let put = || self.web.request(Method::PUT, url.clone()).body(bytes.to_vec());
            let mut answer = self.web.send(&step, put()).await?;
            let lacks_folder =
                [StatusCode::CONFLICT, StatusCode::NOT_FOUND].contains(&answer.status);
            if lacks_folder && self.makes_folders {
                self.make_folders(&step).await?;
                answer = self.web.send(&step, put()).await?;
            }
            let is_done = answer.status.is_success();
            if is_done { Ok(()) } else { Err(self.web.refused(&step, &answer)) }
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> Work<'a, ()> {
        Box::pin(async move {
            let step = format!("remove {name}");
            let request = self.web.request(Method::DELETE, self.web.url(name)?);
            let answer = self.web.send(&step, request).await?;
            match answer.status {
                status if status.is_success() => Ok(()),
                StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
                _ => Err(self.web.refused(&step, &answer)),
            }
        })
    }
}
