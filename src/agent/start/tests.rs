//! Several agents in one process, over real sockets on loopback.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::agent::api::AdmitRequest;
use crate::agent::api::DocumentChange;
use crate::agent::api::TicketRequest;
use crate::agent::api::WriteRequest;
use crate::agent::enter::enter;
use crate::agent::error::AgentError;
use crate::agent::handle::Command;
use crate::agent::machine_file::Description;
use crate::agent::machine_file::FoundRequest;
use crate::agent::machine_file::InitRequest;
use crate::agent::ticket::Ticket;
use crate::model::identity::NodeId;
use crate::model::member::Role;
use crate::model::member::Status;

/// Far beyond what anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(20);

struct Machine {
    folder: tempfile::TempDir,
    node: NodeId,
    services: Option<Services>,
    task: Option<JoinHandle<Result<(), AgentFailure>>>,
}

impl Machine {
    fn new(name: &str, founds: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = "default".parse().unwrap();
        let request = InitRequest {
            description: Description {
                name: name.parse().unwrap(),
                compute_type: "local".to_owned(),
                server_type: "headless".to_owned(),
                labels: [].into(),
                listen: Some("127.0.0.1:0".parse().unwrap()),
                ssh_port: None,
                ssh_user: None,
            },
            force: false,
            challenge: None,
            found: founds.then_some(FoundRequest { cluster, nonce: 1, recovery: None }),
        };
        let home = Home::new(folder.path());
        let node = initialise::initialise(&home, &request).unwrap().node_id;
        Self { folder, node, services: None, task: None }
    }

    fn home(&self) -> Home {
        Home::new(self.folder.path())
    }

    async fn start(&mut self) {
        let started = start(self.home(), AgentSettings::default()).await.unwrap();
        self.services = Some(started.services.clone());
        self.task = Some(tokio::spawn(async move { Box::pin(started.run(None)).await.1 }));
    }

    fn handle(&self) -> &AgentHandle {
        self.services.as_ref().unwrap().handle()
    }

    /// As a power cut would: nothing is said, nothing is finished.
    async fn crash(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    async fn ended(&mut self) -> Result<(), AgentFailure> {
        timeout(LIMIT, self.task.take().unwrap()).await.unwrap().unwrap()
    }

    async fn enter(&self, door: &Self, name: &str) {
        let request = AdmitRequest {
            node: self.node,
            name: name.parse().unwrap(),
            role: Role::Full,
            endpoints: Vec::new(),
            intent: None,
        };
        let admitted = door.handle().ask(|reply| Command::Admit(request, reply)).await.unwrap();
        initialise::adopt(&self.home(), &admitted, false).unwrap();
    }

    async fn set(&self, path: &str, value: impl Into<Value>) -> Result<(), AgentError> {
        let change = DocumentChange::Set { path: path.to_owned(), value: value.into() };
        let request = WriteRequest { note: "test".to_owned(), changes: vec![change] };
        self.handle().ask(|reply| Command::Write(request, reply)).await
    }

    async fn document(&self) -> Value {
        self.handle().ask(Command::Document).await.unwrap()
    }

    async fn alive(&self) -> usize {
        let members = self.handle().ask(Command::Members).await.unwrap_or_default();
        members.iter().filter(|member| member.status == Status::Alive).count()
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
}

/// `count` machines that see each other, the first of which founded the cluster.
async fn cluster(count: usize) -> Vec<Machine> {
    let mut machines = vec![Machine::new("m0", true)];
    machines[0].start().await;
    for index in 1..count {
        let name = format!("m{index}");
        let mut machine = Machine::new(&name, false);
        machine.enter(&machines[0], &name).await;
        machine.start().await;
        machines.push(machine);
    }
    for machine in &machines {
        until("all are alive", async || machine.alive().await == count).await;
    }
    machines
}

async fn until_they_agree(machines: &[Machine]) {
    until("the documents agree", async || {
        let first = machines[0].document().await;
        for machine in &machines[1..] {
            if machine.document().await != first {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_everywhere_after_crashes() {
    let mut machines = cluster(3).await;
    for round in 0..3usize {
        let victim = round % 3;
        for (index, machine) in machines.iter().enumerate() {
            machine.set(&format!("config.round{round}.m{index}"), round).await.unwrap();
        }
        machines[victim].crash().await;
        let other = (victim + 1) % 3;
        machines[other].set(&format!("config.round{round}.alone"), round).await.unwrap();
        machines[victim].start().await;
    }
    until_they_agree(&machines).await;
    let document = machines[2].document().await;
    for round in 0..3 {
        let expected = json!({"m0": round, "m1": round, "m2": round, "alone": round});
        assert_eq!(document["config"][format!("round{round}")], expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_gets_a_document_of_many_messages() {
    let mut machines = cluster(1).await;
    for index in 0..12 {
        let text = "x".repeat(900_000) + &index.to_string();
        machines[0].set(&format!("config.long{index}"), text).await.unwrap();
    }
    let mut newcomer = Machine::new("new", false);
    newcomer.enter(&machines[0], "new").await;
    newcomer.start().await;
    machines.push(newcomer);
    until_they_agree(&machines).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_put_out_hears_it_stays_out_and_can_be_taken_back() {
    let mut machines = cluster(2).await;
    let mut second = machines.pop().unwrap();
    let first = &machines[0];
    let evicted = second.node.to_string();
    first.handle().ask(|reply| Command::Evict(evicted, reply)).await.unwrap();
    assert!(matches!(second.ended().await, Err(AgentFailure::Evicted(_))));
    let again = start(second.home(), AgentSettings::default()).await;
    assert!(matches!(again.err(), Some(AgentFailure::Evicted(_))));

    let source = second.node;
    let blobs = Vec::new();
    let told = first.handle().ask(|reply| Command::Apply { source, blobs, reply }).await;
    assert!(matches!(told, Err(AgentError::Forbidden(_))), "{told:?}");

    second.enter(first, "again").await;
    second.start().await;
    until("it is back", async || first.alive().await == 2 && second.alive().await == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_for_one_lets_one_in_and_tells_it_twice() {
    let machines = cluster(1).await;
    let request = TicketRequest { ttl_ms: 60_000, uses: 1 };
    let made = machines[0].handle().ask(|reply| Command::CreateTicket(request, reply)).await;
    let ticket: Ticket = made.unwrap().ticket.parse().unwrap();
    // Who may knock is told to the mesh a moment after the write.
    let newcomers = [Machine::new("a", false), Machine::new("b", false)];
    let knock = async |machine: &Machine| {
        let (key, file) = initialise::load(&machine.home()).unwrap();
        enter(ticket.clone(), &key, file.description.name).await
    };
    let (left, right) = tokio::join!(knock(&newcomers[0]), knock(&newcomers[1]));
    assert!(left.is_ok() ^ right.is_ok(), "{left:?} {right:?}");
    let (admitted, refused) =
        if left.is_ok() { (&newcomers[0], right) } else { (&newcomers[1], left) };
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("used up"), "{refused}");
    // An answer that was lost on its way is given again.
    knock(admitted).await.unwrap();
}
