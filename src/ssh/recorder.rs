//! A host that does nothing, writes down what it was asked and answers from a script.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;

use crate::ssh::error::{Cause, HostError};
use crate::ssh::host::{BoxedStream, Command, Host, Output, Script, Source, Upload, Uploaded};

/// What a [`Recorder`] was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A program.
    Run(Command),
    /// A script.
    Script {
        /// Its name.
        name: String,
        /// Its text.
        text: String,
        /// Whether as root.
        sudo: bool,
    },
    /// A file.
    Upload {
        /// Its bytes.
        source: Source,
        /// Where to.
        destination: String,
        /// Its mode.
        mode: u32,
    },
    /// A stream.
    Bridge(Vec<String>),
}

/// What a [`Recorder`] answers.
#[derive(Debug)]
pub enum Answer {
    /// To a program or a script.
    Output(Output),
    /// To a file.
    Uploaded(Uploaded),
    /// To anything: the call fails.
    Fails(Cause),
}

/// The recording host.
#[derive(Debug)]
pub struct Recorder {
    name: String,
    calls: Mutex<Vec<Call>>,
    answers: Mutex<VecDeque<Answer>>,
}

impl Recorder {
    /// A host that gives `answers`, one a call, in their order.
    #[must_use]
    pub fn new(name: impl Into<String>, answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            name: name.into(),
            calls: Mutex::new(Vec::new()),
            answers: Mutex::new(answers.into_iter().collect()),
        }
    }

    /// Everything asked so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        locked(&self.calls).clone()
    }

    fn answer(&self, call: Call, step: &str) -> Result<Answer, HostError> {
        locked(&self.calls).push(call);
        let failed = |cause| Err(HostError::new(&self.name, step, cause));
        match locked(&self.answers).pop_front() {
            Some(Answer::Fails(cause)) => failed(cause),
            Some(answer) => Ok(answer),
            None => failed(Cause::Other { detail: "no answer is left".to_owned() }),
        }
    }

    fn output(&self, call: Call, step: &str) -> Result<Output, HostError> {
        match self.answer(call, step)? {
            Answer::Output(output) => Ok(output),
            _ => Err(self.mismatch(step)),
        }
    }

    fn mismatch(&self, step: &str) -> HostError {
        let detail = "the next answer is of another kind".to_owned();
        HostError::new(&self.name, step, Cause::Other { detail })
    }
}

fn locked<Inner>(mutex: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host for Recorder {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, HostError>> {
        Box::pin(async move { self.output(Call::Run(command), "running") })
    }

    fn script(&self, script: Script) -> BoxFuture<'_, Result<Output, HostError>> {
        Box::pin(async move {
            let call =
                Call::Script { name: script.name.clone(), text: script.text, sudo: script.sudo };
            let output = self.output(call, &script.name)?;
            if let Some(observer) = &script.observer {
                String::from_utf8_lossy(&output.stdout).lines().for_each(|line| observer(line));
            }
            Ok(output)
        })
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<Uploaded, HostError>> {
        Box::pin(async move {
            if let Some(permission) = &upload.permission {
                permission.notified().await;
            }
            let call = Call::Upload {
                source: upload.source,
                destination: upload.destination,
                mode: upload.mode,
            };
            match self.answer(call, "copying")? {
                Answer::Uploaded(uploaded) => Ok(uploaded),
                _ => Err(self.mismatch("copying")),
            }
        })
    }

    fn bridge(
        &self,
        argv: Vec<String>,
        _sudo: bool,
    ) -> BoxFuture<'_, Result<BoxedStream, HostError>> {
        Box::pin(async move {
            self.answer(Call::Bridge(argv), "bridging")?;
            let (near, _far) = tokio::io::duplex(1024);
            Ok(Box::new(near) as BoxedStream)
        })
    }
}
