//! A machine that ends while the members are waiting to see it: nobody waits for it any longer.

use std::time::Duration;

use crate::agent::error::chain;
use crate::agent::perform::job::Failure;
use crate::agent::perform::local;
use crate::agent::perform::local::LocalError;
use crate::agent::perform::local::fault_in;
use crate::compute::local::supervisor::SupervisorRecord;
use crate::config::home::Home;
use crate::ssh::host::Command;
use crate::ssh::host::Host;

/// How often this computer is asked whether the machine's processes are there.
const LOCAL_INTERVAL: Duration = Duration::from_millis(100);

/// How often a machine behind SSH is asked whether it is there.
const REMOTE_INTERVAL: Duration = Duration::from_secs(3);

/// How often in a row it may fail to be.
const MISSES_MAX: u32 = 2;

/// The processes of a local machine, watched from before they were started.
pub(super) struct LocalProcesses<'a> {
    home: &'a Home,
    before: Option<SupervisorRecord>,
    /// Where in the log their words begin.
    pub(super) log_start: u64,
}

impl<'a> LocalProcesses<'a> {
    /// Starts those of the machine with this home.
    pub(super) fn start(home: &'a Home) -> Result<Self, LocalError> {
        let before = SupervisorRecord::read(home.root());
        Ok(Self { home, before, log_start: local::start(home)? })
    }

    /// Names the log of what failed, which may say more.
    pub(super) fn failure(&self, step: &str, cause: String) -> Failure {
        let log = self.home.log_file();
        Failure::at(step, cause).with_hint(format!("its log is {}", log.display()))
    }

    /// Waits until they are there and have all ended. An agent that dies alone is started again by
    /// its supervisor.
    pub(super) async fn ended(&self) -> Failure {
        let mut is_started = false;
        loop {
            let record = SupervisorRecord::read(self.home.root());
            let is_alive = record.is_some_and(|record| record.is_alive(self.home.root()));
            is_started |= is_alive || record != self.before;
            if is_started && !is_alive {
                let fault = fault_in(&self.home.log_file(), self.log_start);
                let cause = fault.unwrap_or_else(|| "it has ended".to_owned());
                return self.failure("wait for its agent", cause);
            }
            tokio::time::sleep(LOCAL_INTERVAL).await;
        }
    }
}

/// Waits until a machine behind SSH twice in a row neither answered nor let us in anew. One whose
/// agent alone has died starts it again itself.
pub(super) async fn out_of_reach(host: &dyn Host) -> Failure {
    let mut misses = 0;
    loop {
        tokio::time::sleep(REMOTE_INTERVAL).await;
        let refusal = match host.run(Command::new(["true"])).await {
            Ok(_) => None,
            Err(_) => host.reconnect().await.err(),
        };
        misses = if refusal.is_some() { misses + 1 } else { 0 };
        if let Some(refusal) = refusal.filter(|_| misses == MISSES_MAX) {
            return Failure::at("wait for the members", chain(&refusal)).with_hint(refusal.hint());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::BoxFuture;
    use tokio::time::Instant;
    use tokio::time::timeout;

    use super::*;
    use crate::compute::local::process::Process;
    use crate::ssh::error::Cause;
    use crate::ssh::error::HostError;
    use crate::ssh::host::BoxedStream;
    use crate::ssh::host::Output;
    use crate::ssh::host::Script;
    use crate::ssh::host::Upload;
    use crate::ssh::host::Uploaded;

    fn record_of(child: &std::process::Child) -> SupervisorRecord {
        let process = Process::read(i32::try_from(child.id()).unwrap()).unwrap();
        SupervisorRecord { version: 1, pid: process.pid, start_ticks: process.start_ticks }
    }

    fn sleeper() -> std::process::Child {
        use std::os::unix::process::CommandExt;
        std::process::Command::new("sleep").arg("60").process_group(0).spawn().unwrap()
    }

    #[tokio::test]
    async fn a_machine_whose_processes_ended_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("agent")).unwrap();
        let home = Home::new(folder.path());
        let mut earlier = sleeper();
        let record = record_of(&earlier);
        earlier.kill().and_then(|()| earlier.wait()).unwrap();
        record.write(folder.path()).unwrap();

        // What an earlier life left behind is no machine that ended, nor is one that runs.
        let before = SupervisorRecord::read(folder.path());
        let processes = LocalProcesses { home: &home, before, log_start: 0 };
        let patience = LOCAL_INTERVAL * 3;
        assert!(timeout(patience, processes.ended()).await.is_err());
        let mut leader = sleeper();
        record_of(&leader).write(folder.path()).unwrap();
        assert!(timeout(patience, processes.ended()).await.is_err());

        leader.kill().and_then(|()| leader.wait()).unwrap();
        let failure = timeout(Duration::from_secs(20), processes.ended()).await.unwrap();
        assert_eq!(failure.cause, "it has ended");
        std::fs::write(home.log_file(), "error: UDP port 7 is in use\n").unwrap();
        let failure = processes.ended().await;
        assert_eq!(failure.cause, "it does not start: UDP port 7 is in use");
    }

    /// Answers no call; whether it lets in anew, one time after the other.
    struct Fading(Mutex<Vec<bool>>);

    fn unreachable() -> HostError {
        let cause = Cause::Unreachable { detail: "no route".to_owned() };
        HostError::new("m", "asking", cause)
    }

    impl Host for Fading {
        fn name(&self) -> &'static str {
            "m"
        }
        fn run(&self, _: Command) -> BoxFuture<'_, Result<Output, HostError>> {
            Box::pin(async { Err(unreachable()) })
        }
        fn reconnect(&self) -> BoxFuture<'_, Result<(), HostError>> {
            let lets_in = self.0.lock().unwrap().remove(0);
            Box::pin(async move { if lets_in { Ok(()) } else { Err(unreachable()) } })
        }
        fn script(&self, _: Script) -> BoxFuture<'_, Result<Output, HostError>> {
            unimplemented!()
        }
        fn upload(&self, _: Upload) -> BoxFuture<'_, Result<Uploaded, HostError>> {
            unimplemented!()
        }
        fn bridge(&self, _: Vec<String>, _: bool) -> BoxFuture<'_, Result<BoxedStream, HostError>> {
            unimplemented!()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_gone_is_not_waited_for() {
        let host = Fading(Mutex::new(vec![true, false, true, false, false]));
        let began = Instant::now();
        let failure = out_of_reach(&host).await;
        assert!(failure.cause.contains("no route"), "{failure:?}");
        assert_eq!(began.elapsed(), REMOTE_INTERVAL * 5, "it let in twice");
    }
}
