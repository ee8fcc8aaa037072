//! The copy of raptor's program that does not wait for the look at the machine: most of the time of
//! taking one over goes into it, and all of a session's way there and back.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::provision::install::release_name;
use crate::provision::order::Order;
use crate::provision::order::Program;
use crate::ssh::error::HostError;
use crate::ssh::host::Host;
use crate::ssh::host::Source;
use crate::ssh::host::Upload;
use crate::ssh::host::Uploaded;

/// How a copy went; none where there was none to make.
type Copied = Option<Result<Uploaded, HostError>>;

/// A copy that is made ready, and on a new machine made, while that is still being looked at.
pub(super) struct EarlyCopy<'a> {
    copying: BoxFuture<'a, Copied>,
    permission: Arc<Notify>,
    copied: Option<Copied>,
}

impl<'a> EarlyCopy<'a> {
    /// Only root gets by without what the first look tells. What was there before is changed only once
    /// the copy is taken.
    pub(super) fn new(host: &'a dyn Host, order: &'a Order) -> Self {
        let permission = Arc::new(Notify::new());
        let waits_for = (!order.is_new).then(|| Arc::clone(&permission));
        let copying = Box::pin(async move {
            let join = order.join.as_ref().filter(|_| order.is_root)?;
            let mut copy = copy(order, &join.program, false);
            copy.permission = waits_for;
            Some(host.upload(copy).await)
        });
        Self { copying, permission, copied: None }
    }

    /// Does `work` beside it.
    pub(super) async fn beside<Done>(&mut self, work: impl Future<Output = Done>) -> Done {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                copied = &mut self.copying, if self.copied.is_none() => self.copied = Some(copied),
            }
        }
    }

    /// Waits until it is there.
    pub(super) async fn take(self) -> Copied {
        self.permission.notify_one();
        match self.copied {
            Some(copied) => copied,
            None => self.copying.await,
        }
    }
}

/// The program's way to where its release belongs.
pub(super) fn copy(order: &Order, program: &Program, sudo: bool) -> Upload {
    Upload {
        source: Source::File(program.path.clone()),
        destination: order.layout.release(&release_name(&program.version, &program.sha256)),
        mode: 0o755,
        sha256: Some(program.sha256.clone()),
        sudo,
        observer: None,
        permission: None,
    }
}
