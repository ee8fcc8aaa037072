//! The one unsafe module: a child that dies with this process, even when it is killed outright.
//!
//! Linux keeps the request per *thread* that forked (`prctl(2)`, `PR_SET_PDEATHSIG`): the child is
//! signalled when that thread ends, not the process. So all such children are started by one thread
//! that lives as long as the process.
#![allow(unsafe_code)]

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// A command to start, and where the started child goes.
struct Request {
    command: Command,
    reply: tokio::sync::oneshot::Sender<io::Result<Child>>,
}

/// Starts `command` so that it gets SIGKILL when this process ends, however it ends.
///
/// # Errors
/// What starting the command, or the thread that starts it, gave.
pub(crate) async fn spawn_tied(command: Command) -> io::Result<Child> {
    let (reply, started) = tokio::sync::oneshot::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    starter()?.send(Request { command, reply }).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

/// The way to the one thread that starts children.
fn starter() -> io::Result<mpsc::Sender<Request>> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Request>>> = OnceLock::new();
    if let Some(sender) = STARTER.get() {
        return Ok(sender.lock().unwrap_or_else(PoisonError::into_inner).clone());
    }
    let (sender, requests) = mpsc::channel::<Request>();
    // Two first callers may both start a thread: the loser's ends with its sender, having started
    // nothing.
    thread::Builder::new().name("ssh-starter".to_owned()).spawn(move || {
        for mut request in requests {
            tie(&mut request.command);
            let started = request.command.spawn();
            if let Err(Ok(mut orphan)) = request.reply.send(started) {
                let _ended = orphan.kill();
                let _reaped = orphan.wait();
            }
        }
    })?;
    let stored = STARTER.get_or_init(|| Mutex::new(sender));
    Ok(stored.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

#[cfg(target_os = "linux")]
fn tie(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // The parent may have died before the request stood; then nobody would signal.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()))
        }
    };
    // SAFETY: `pre_exec` asks that the closure does only what is sound between fork and exec in a
    // process that had several threads: no locks, no allocation, only async-signal-safe calls.
    // `ask` makes two system calls (prctl, getppid) through rustix, which wraps them without locks
    // or allocation; it captures one integer by value; its errors are made from an error number,
    // which does not allocate.
    unsafe {
        command.pre_exec(ask);
    }
}

#[cfg(not(target_os = "linux"))]
fn tie(_command: &mut Command) {
    // Elsewhere dropping the master is what ends it.
}
