//! What an agent does for its API across members: running programs, terminals, connections.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use tokio::io::duplex;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;

use crate::agent::api::EchoReport;
use crate::agent::api::EchoRequest;
use crate::agent::api::ExecEvent;
use crate::agent::api::ExecRequest;
use crate::agent::api::TerminalRequest;
use crate::agent::dial::DialError;
use crate::agent::dial::dial;
use crate::agent::error::AgentError;
use crate::agent::error::chain;
use crate::agent::handle::AgentHandle;
use crate::agent::handle::Command;
use crate::agent::mesh_view::MeshView;
use crate::agent::peer::client::Duplex;
use crate::agent::peer::client::PeerClient;
use crate::agent::peer::request::Connected;
use crate::agent::process;
use crate::agent::process::ProcessEvent;
use crate::agent::reconcile::Tending;
use crate::agent::terminal;
use crate::agent::view;
use crate::config::artefacts::Artefacts;
use crate::model::identity::NodeId;
use crate::model::member::Member;
use crate::model::member::Status;
use crate::model::name::Name;
use crate::reconcile::fleet::plan::FleetPlan;

/// Members on which one `exec` runs at the same time.
const EXEC_CONCURRENT: usize = 64;

/// Events of one `exec` that wait for a slow reader.
const EXEC_QUEUE: usize = 256;

/// Bytes that wait inside a connection to the machine itself.
const PIPE_SIZE: usize = 64 * 1024;

/// Longest wait for an echo.
const ECHO_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Beyond the program's own limit, how long the way there and back may take.
const EXEC_SLACK: Duration = Duration::from_secs(10);

/// Works on members on behalf of the API.
#[derive(Clone)]
pub struct Services {
    me: NodeId,
    handle: AgentHandle,
    client: PeerClient,
    tending: Tending,
    artefacts: Artefacts,
}

impl Services {
    /// For the machine `me`.
    #[must_use]
    pub fn new(
        me: NodeId,
        handle: AgentHandle,
        client: PeerClient,
        tending: Tending,
        artefacts: Artefacts,
    ) -> Self {
        Self { me, handle, client, tending, artefacts }
    }

    /// The files that the members keep.
    #[must_use]
    pub fn artefacts(&self) -> &Artefacts {
        &self.artefacts
    }

    /// What the members will do about the fleet, as this one sees it.
    ///
    /// # Errors
    /// When the agent is on its way out.
    pub async fn plan(&self) -> Result<FleetPlan, AgentError> {
        self.tending.plan().await.ok_or_else(AgentError::stopping)
    }

    /// The door to the event loop.
    #[must_use]
    pub fn handle(&self) -> &AgentHandle {
        &self.handle
    }

    /// Runs a program on the members that the request selects. Dropping the receiver ends it.
    ///
    /// # Errors
    /// When nothing was named to run, or no member is selected.
    pub async fn exec(
        &self,
        request: ExecRequest,
    ) -> Result<mpsc::Receiver<ExecEvent>, AgentError> {
        if request.argv.is_empty() {
            return Err(AgentError::Invalid("no program was named".to_owned()));
        }
        let mut members = self.handle.ask(Command::Members).await?;
        if let Some(name) = request.on.unknown(&members) {
            let why = view::find(&members, name).err().map(|error| error.to_string());
            let why = why.unwrap_or_else(|| format!("no member {name:?}"));
            return Err(AgentError::NotFound(why));
        }
        members.retain(|member| {
            request.on.matches(member) && (!request.on.is_empty() || can_run(member))
        });
        if members.is_empty() {
            return Err(AgentError::NotFound(format!(
                "no member fits {:?}",
                request.on.to_string()
            )));
        }
        let (sender, receiver) = mpsc::channel(EXEC_QUEUE);
        let services = self.clone();
        tokio::spawn(async move { services.fan_out(members, request, sender).await });
        Ok(receiver)
    }

    async fn fan_out(
        &self,
        members: Vec<Member>,
        request: ExecRequest,
        events: mpsc::Sender<ExecEvent>,
    ) {
        let nodes = members.iter().map(|member| member.name.clone()).collect();
        let _ = events.send(ExecEvent::Targets { nodes }).await;
        let permits = Arc::new(Semaphore::new(EXEC_CONCURRENT));
        for member in members {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let (services, request, events) = (self.clone(), request.clone(), events.clone());
            tokio::spawn(async move {
                services.exec_on(&member, request, &events).await;
                drop(permit);
            });
        }
    }

    async fn exec_on(
        &self,
        member: &Member,
        request: ExecRequest,
        events: &mpsc::Sender<ExecEvent>,
    ) {
        let (sender, mut process_events) = mpsc::channel(process::EVENT_QUEUE);
        let limit = Duration::from_millis(request.timeout_ms);
        let (me, client, node) = (self.me, self.client.clone(), member.id);
        let running = async move {
            if node == me {
                // A task of its own: it ends the program in good order when nobody listens.
                let run = tokio::spawn(async move {
                    process::run(&request.argv, limit, sender).await;
                });
                let _ = run.await;
                return;
            }
            let late = sender.clone();
            let run = client.exec(node, request.argv, request.timeout_ms, sender);
            if tokio::time::timeout(limit + EXEC_SLACK, run).await.is_err() {
                let reason = "no answer from it in time".to_owned();
                let _ = late.send(ProcessEvent::Failed(reason)).await;
            }
        };
        let forwarding = async {
            while let Some(event) = process_events.recv().await {
                if events.send(told(&member.name, event)).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(running, forwarding) } => {}
            () = events.closed() => {}
        }
    }

    /// The mesh as the member that `word` names sees it; without a word, as this machine does.
    ///
    /// # Errors
    /// When there is no such member or it cannot be reached.
    pub async fn mesh(&self, word: Option<String>) -> Result<MeshView, AgentError> {
        if let Some(word) = word {
            let member = self.handle.ask(|reply| Command::Find(word, reply)).await?;
            if member.id != self.me {
                return self.client.mesh(member.id).await.map_err(|error| {
                    AgentError::Unavailable(format!("{} is not reached: {error}", member.name))
                });
            }
        }
        self.handle.ask(Command::Mesh).await
    }

    /// Asks a member for an echo, and waits for it as long as the request says.
    ///
    /// # Errors
    /// When there is no such member.
    pub async fn echo(&self, request: EchoRequest) -> Result<EchoReport, AgentError> {
        let limit = Duration::from_millis(request.timeout_ms).min(ECHO_TIMEOUT_MAX);
        let asking = self.handle.ask(|reply| Command::Echo(request, reply));
        let nothing = Ok(EchoReport { answer: None, error: None });
        tokio::time::timeout(limit, asking).await.unwrap_or(nothing)
    }

    /// Opens a terminal on the member that `word` names.
    ///
    /// # Errors
    /// When there is no such member or it cannot be reached.
    pub async fn terminal(
        &self,
        word: String,
        request: TerminalRequest,
    ) -> Result<Box<dyn Duplex>, AgentError> {
        let member = self.handle.ask(|reply| Command::Find(word, reply)).await?;
        if member.id != self.me {
            return self.client.terminal(member.id, request).await;
        }
        let (near, far) = duplex(PIPE_SIZE);
        tokio::spawn(terminal::serve(far, request));
        Ok(Box::new(near))
    }

    /// Opens a TCP connection to a port of the member that `word` names, on the member itself.
    ///
    /// # Errors
    /// When there is no such member, it cannot be reached, or nobody listens there.
    pub async fn connect(&self, word: String, port: u16) -> Result<Box<dyn Duplex>, AgentError> {
        let member = self.handle.ask(|reply| Command::Find(word, reply)).await?;
        let (answer, stream): (_, Option<Box<dyn Duplex>>) = if member.id == self.me {
            match dial(self.me.address(), port).await {
                Ok(socket) => (Connected::Open, Some(Box::new(socket))),
                Err(DialError::Refused { .. }) => (Connected::Refused, None),
                Err(error) => (Connected::Failed { reason: chain(&error) }, None),
            }
        } else {
            let answer = self.client.connect(member.id, port).await;
            let (answer, stream) = answer.map_err(|error| {
                AgentError::Unavailable(format!("{} is not reached: {error}", member.name))
            })?;
            (answer, Some(stream))
        };
        let name = &member.name;
        match (answer, stream) {
            (Connected::Open, Some(stream)) => Ok(stream),
            (Connected::Failed { reason }, _) => {
                Err(AgentError::Unavailable(format!("port {port} of {name}: {reason}")))
            }
            _ => Err(AgentError::Refused(format!("nothing listens on port {port} of {name}"))),
        }
    }
}

/// Whether a command for everybody is also for this member: the dead are not waited for.
fn can_run(member: &Member) -> bool {
    matches!(member.status, Status::Alive | Status::Suspect)
}

fn told(node: &Name, event: ProcessEvent) -> ExecEvent {
    let node = node.clone();
    match event {
        ProcessEvent::Started => ExecEvent::Acknowledged { node },
        ProcessEvent::Output(stream, bytes) => {
            ExecEvent::Output { node, stream, data: BASE64.encode(&bytes) }
        }
        ProcessEvent::Exited(status) => {
            ExecEvent::Finished { node, exit_status: Some(status), error: None }
        }
        ProcessEvent::Failed(reason) => {
            ExecEvent::Finished { node, exit_status: None, error: Some(reason) }
        }
    }
}
