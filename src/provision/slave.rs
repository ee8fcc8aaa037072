//! Taking a machine over: probe, upload, one script, admission, one script; and back on failure.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::provision::check::{Problem, check};
use crate::provision::early::{EarlyCopy, copy};
use crate::provision::error::{SlaveCause, SlaveError};
use crate::provision::install::{prune, release_name, switch};
use crate::provision::order::{Admission, InitReply, JoinOrder, Order, Program, Slaved};
use crate::provision::probe::{Privilege, Probe, parse, probe_script};
use crate::provision::script::{Composer, Report, begun, parse as parse_report, undo_script};
use crate::provision::service::{Service, service};
use crate::provision::steps::{Step, steps};
use crate::provision::undo::{Reached, undo};
use crate::ssh::error::HostError;
use crate::ssh::host::{Host, Output, Script, Uploaded};
use crate::ssh::quote::quote;

/// What a script may take beyond the sum of its steps.
const SCRIPT_MARGIN: Duration = Duration::from_secs(120);

/// A failure before it is known what is put back.
struct Failure {
    step: String,
    report: Box<Report>,
    cause: Box<SlaveCause>,
}

impl Failure {
    fn new(step: &str, cause: impl Into<SlaveCause>) -> Self {
        Self { step: step.to_owned(), report: Box::default(), cause: Box::new(cause.into()) }
    }
}

/// Everything that is known while a machine is taken over.
struct Run<'a> {
    host: &'a dyn Host,
    order: &'a Order,
    progress: &'a Arc<dyn Progress>,
    probe: Probe,
    steps: Vec<Step>,
    service: Service,
    sudo: bool,
    /// raptor's program for the machine, where that is not the one in the order.
    other: Option<Program>,
    name: Name,
    reached: Reached,
    reply: Option<InitReply>,
    /// How the copying went that did not wait for the look at the machine.
    copied: Option<Result<Uploaded, HostError>>,
    uploaded: bool,
}

/// Takes a machine over, or leaves it as it was. Doing it again is safe and quick.
///
/// # Errors
/// [`SlaveError`] with the failed step, its last lines, and what was put back.
pub async fn slave(
    host: &dyn Host,
    order: &Order,
    admission: &dyn Admission,
    progress: &Arc<dyn Progress>,
) -> Result<Slaved, SlaveError> {
    if order.join.is_some() || !order.modules.is_empty() {
        // For the copy and the first script, or for both scripts.
        host.get_ready(2);
    }
    let mut copy = EarlyCopy::new(host, order);
    let looked = copy.beside(look(host, order, admission, progress)).await;
    let (probe, warnings, other) = match looked {
        Ok(fit) => fit,
        Err(failure) => return Err(told(host, None, failure, Vec::new(), Vec::new())),
    };
    let steps = match steps(&order.modules, &probe) {
        Ok(steps) => steps,
        Err(error) => {
            let failure = Failure::new("checking", error);
            return Err(told(host, None, failure, Vec::new(), Vec::new()));
        }
    };
    let mut run = Run { other, ..Run::new(host, order, progress, probe, steps) };
    if run.takes_early_copy() {
        progress.stage(host.name(), "copying raptor");
        run.copied = copy.take().await;
    } else {
        drop(copy);
    }
    if let Err(failure) = run.perform(admission).await {
        let (undone, left) = run.put_back(admission, &failure).await;
        let log = run.reached.installing.then(|| order.layout.log());
        return Err(told(host, log, failure, undone, left));
    }
    let applied = run.reached.applied.iter();
    let applied = applied.filter_map(|index| run.steps.get(*index)).map(Step::title).collect();
    Ok(Slaved {
        warnings,
        reply: run.reply,
        name: run.name,
        uploaded: run.uploaded,
        applied,
        probe: run.probe,
    })
}

/// Probes and checks: nothing is changed yet. Besides, raptor's program for a machine of another kind.
async fn look(
    host: &dyn Host,
    order: &Order,
    admission: &dyn Admission,
    progress: &Arc<dyn Progress>,
) -> Result<(Probe, Vec<Problem>, Option<Program>), Failure> {
    let stage = if order.is_new && order.join.is_some() {
        "looking at the machine, copying raptor"
    } else {
        "looking at the machine"
    };
    progress.stage(host.name(), stage);
    let mut script = Script::new("probing", probe_script(&order.layout));
    // With a password at hand, the first session already shows whether it is right.
    script.sudo = order.requirements.has_sudo_password;
    let output = host.script(script).await.map_err(|error| Failure::new("probing", error))?;
    let probe = parse(&output.stdout).map_err(|error| Failure::new("probing", error))?;
    let mut requirements = order.requirements.clone();
    let mut other = None;
    if order.join.is_some() && probe.architecture != requirements.architecture {
        let found = admission.program(&probe.architecture).await;
        other = found.map_err(|error| Failure::new("checking", SlaveCause::Admission(error)))?;
        if other.is_some() {
            requirements.architecture.clone_from(&probe.architecture);
        }
    }
    match check(&probe, &requirements) {
        Ok(warnings) => Ok((probe, warnings, other)),
        Err(problems) => Err(Failure::new("checking", SlaveCause::Unfit(problems))),
    }
}

impl<'a> Run<'a> {
    fn new(
        host: &'a dyn Host,
        order: &'a Order,
        progress: &'a Arc<dyn Progress>,
        probe: Probe,
        steps: Vec<Step>,
    ) -> Self {
        let wished = order.join.as_ref().and_then(|join| join.init.get("name")?.as_str());
        let name = wished.and_then(|name| name.parse().ok());
        Self {
            host,
            order,
            progress,
            steps,
            service: service(probe.init, &order.layout),
            sudo: probe.privilege != Privilege::Root || order.requirements.has_sudo_password,
            name: name.unwrap_or_else(|| Name::from_hostname(&probe.hostname)),
            reached: Reached::default(),
            reply: None,
            copied: None,
            other: None,
            uploaded: false,
            probe,
        }
    }

    async fn perform(&mut self, admission: &dyn Admission) -> Result<(), Failure> {
        let order = self.order;
        if let Some(join) = &order.join {
            let program = self.program(join).clone();
            self.upload(&program).await?;
        }
        if order.join.is_none() && self.steps.is_empty() {
            return Ok(());
        }
        let founding = match &order.join {
            Some(_) => admission.founding(),
            None => Ok(None),
        };
        let founding =
            founding.map_err(|error| Failure::new("founding", SlaveCause::Admission(error)))?;
        self.reached.installing = true;
        let report = self.script("provisioning", self.installing(founding)?).await?;
        self.reconnect().await?;
        let Some(join) = &order.join else { return Ok(()) };
        let answer = report.value("init").unwrap_or_default();
        let reply: InitReply = serde_json::from_str(answer).map_err(|_| {
            let answer = answer.chars().take(200).collect();
            Failure::new("agent init", SlaveCause::BadReply { answer })
        })?;
        self.host.get_ready(1);
        self.progress.stage(self.host.name(), "being admitted");
        let reply = self.reply.insert(reply);
        let bootstrap = admission
            .admit(self.host.name(), &self.name, reply)
            .await
            .map_err(|error| Failure::new("admission", SlaveCause::Admission(error)))?;
        self.reached.starting = true;
        self.script("starting", self.starting(join, &bootstrap)).await?;
        let Some(reply) = &self.reply else { return Ok(()) };
        let joined = admission.joined(reply).await;
        joined.map_err(|error| Failure::new("joining", SlaveCause::Admission(error)))
    }

    /// raptor's program for the machine.
    fn program<'j>(&'j self, join: &'j JoinOrder) -> &'j Program {
        self.other.as_ref().unwrap_or(&join.program)
    }

    /// After a module that may have locked us out, a new connection shows that it did not; what it
    /// left to undo itself is told to stay.
    async fn reconnect(&mut self) -> Result<(), Failure> {
        let applied = self.reached.applied.iter().filter_map(|index| self.steps.get(*index));
        let risky = applied.map(|step| &step.module).any(|name| {
            self.order.modules.iter().any(|module| module.reconnect && module.name == *name)
        });
        if !risky {
            return Ok(());
        }
        self.progress.stage(self.host.name(), "connecting anew");
        let failed = |error| Failure::new("connecting anew", error);
        self.host.reconnect().await.map_err(failed)?;
        let mut composer = Composer::new(&self.order.layout);
        composer.add("rm -f \"$RAPTOR_STATE\"/unconfirmed.*");
        self.script("confirming", composer.finish()).await.map(drop)
    }

    /// Whether the program that may have been copied early is the one that the machine needs: not where
    /// it is of another kind, nor where it has it.
    fn takes_early_copy(&self) -> bool {
        let join = self.order.join.as_ref().filter(|_| self.other.is_none());
        join.is_some_and(|join| {
            self.order.is_root && (self.order.is_new || !self.is_there(&join.program))
        })
    }

    /// Whether the machine runs this program already.
    fn is_there(&self, program: &Program) -> bool {
        let release = release_name(&program.version, &program.sha256);
        self.probe.sha256.as_ref() == Some(&program.sha256)
            && self.probe.release.as_ref() == Some(&release)
    }

    async fn upload(&mut self, program: &Program) -> Result<(), Failure> {
        if self.copied.is_none() && self.is_there(program) {
            return Ok(());
        }
        self.reached.release = Some(release_name(&program.version, &program.sha256));
        let uploaded = if let Some(copied) = self.copied.take() {
            copied
        } else {
            self.progress.stage(self.host.name(), "copying raptor");
            self.host.upload(copy(self.order, program, self.sudo)).await
        };
        self.uploaded = !uploaded.map_err(|error| Failure::new("copying raptor", error))?.skipped;
        Ok(())
    }

    /// Modules, program, identity.
    fn installing(&self, founding: Option<Value>) -> Result<String, Failure> {
        let mut composer = Composer::new(&self.order.layout);
        composer
            .add_steps(&self.order.modules, &self.steps)
            .map_err(|error| Failure::new("provisioning", error))?;
        if let Some(join) = &self.order.join {
            let program = self.program(join);
            composer.add(&switch(&release_name(&program.version, &program.sha256)));
            let mut init = join.init.clone();
            init.insert("name".to_owned(), Value::String(self.name.to_string()));
            init.insert("found".to_owned(), founding.unwrap_or_default());
            let init = quote(&Value::Object(init).to_string());
            composer.add("title 'agent init'");
            composer.add(&self.unless_it_runs(&format!(
                "printf %s {init} | \"$program\" --home \"$home\" agent init \
                 >\"$work/init\" 2>\"$work/out\" 8>&-"
            )));
            composer.add("say value init \"$(tr -d '\\n' <\"$work/init\")\"");
        }
        Ok(composer.finish())
    }

    /// Membership, service, health.
    fn starting(&self, join: &JoinOrder, bootstrap: &Value) -> String {
        let (program, health_s) = (self.program(join), join.health_timeout.as_secs().max(1));
        let mut composer = Composer::new(&self.order.layout);
        let release = release_name(&program.version, &program.sha256);
        if self.probe.release.as_ref() != Some(&release) {
            composer.add("changed=yes");
        }
        let bootstrap = quote(&bootstrap.to_string());
        let force = if self.order.requirements.force { " --force" } else { "" };
        composer.add("title 'agent adopt'");
        composer.add(&self.unless_it_runs(&format!(
            "printf %s {bootstrap} | \"$program\" --home \"$home\" agent adopt{force} \
             >\"$work/out\" 2>&1 8>&-"
        )));
        composer.add("title 'starting the agent'");
        for file in &self.service.files {
            // Where cron is not installed, nobody would read its file.
            if file.path.contains("/cron.d/") {
                composer.add("if [ -d \"$root/etc/cron.d\" ]; then");
                composer.write_file(&file.path, file.mode, &file.text);
                composer.add("fi");
            } else {
                composer.write_file(&file.path, file.mode, &file.text);
            }
        }
        let healthy = "\"$program\" --home \"$home\" agent status -o json >\"$work/status\" \
                       2>\"$work/out\" </dev/null 8>&-";
        composer.add(&format!("if [ -n \"$changed\" ] || ! {healthy}; then"));
        composer.add(&self.service.start);
        composer.add("fi");
        composer.add("title 'waiting for the agent'");
        composer.add(&format!(
            "end=$(($(date +%s) + {health_s}))\nuntil {healthy}; do\n\
             [ \"$(date +%s)\" -lt \"$end\" ] || fail 1\nsleep 0.03 2>/dev/null || sleep 1\ndone"
        ));
        let mut keep = vec![release.as_str()];
        keep.extend(self.probe.release.as_deref());
        composer.add(&prune(&keep));
        composer.finish()
    }

    /// Shell text for a command that needs the agent's home for itself when it has anything to
    /// change: it is tried beside the running agent, and again once that was stopped.
    fn unless_it_runs(&self, command: &str) -> String {
        format!("if ! {{ {command}; }}; then\n{}\n{command} || fail \"$?\"\nfi", self.service.stop)
    }

    async fn script(&mut self, name: &str, text: String) -> Result<Report, Failure> {
        let mut script = Script::new(name, text);
        script.sudo = self.sudo;
        let work: Duration = self.steps.iter().map(|step| step.timeout * 3).sum();
        script.timeout = work + SCRIPT_MARGIN;
        let (progress, machine) = (Arc::clone(self.progress), self.host.name().to_owned());
        script.observer = Some(Arc::new(move |line| {
            if let Some(title) = begun(line) {
                progress.stage(&machine, title);
            }
        }));
        let output = self.host.script(script).await.map_err(|error| Failure::new(name, error))?;
        let report = parse_report(&output.stdout);
        self.reached.applied.extend(&report.applied);
        match judge(&report, &output) {
            None => Ok(report),
            Some(cause) => {
                let begun = !report.current.is_empty();
                let step = if begun { report.current.clone() } else { name.to_owned() };
                Err(Failure { step, report: Box::new(report), cause: Box::new(cause) })
            }
        }
    }

    /// Takes back what this run did; what worked, and what did not.
    async fn put_back(
        &self,
        admission: &dyn Admission,
        failure: &Failure,
    ) -> (Vec<String>, Vec<String>) {
        if let Some(reply) = &self.reply {
            admission.withdraw(reply).await;
        }
        if matches!(*failure.cause, SlaveCause::Busy) {
            return (Vec::new(), Vec::new());
        }
        let layout = &self.order.layout;
        let actions = undo(&self.probe, &self.reached, &self.steps, &self.service, layout);
        let (mut undone, mut left) = (Vec::new(), Vec::new());
        let done = if actions.is_empty() {
            Vec::new()
        } else {
            self.progress.stage(self.host.name(), "putting it back as it was");
            let mut script = Script::new("putting back", undo_script(layout, &actions));
            script.sudo = self.sudo;
            let output = self.host.script(script).await;
            output.map(|output| parse_report(&output.stdout).applied).unwrap_or_default()
        };
        for (index, (what, _)) in actions.into_iter().enumerate() {
            if done.contains(&index) { undone.push(what) } else { left.push(what) }
        }
        let lasting = self.reached.applied.iter().filter_map(|index| self.steps.get(*index));
        left.extend(
            lasting.filter(|step| step.undo.is_none()).map(|step| format!("step {}", step.title())),
        );
        (undone, left)
    }
}

fn judge(report: &Report, output: &Output) -> Option<SlaveCause> {
    match (report.busy, report.failed) {
        (true, _) => Some(SlaveCause::Busy),
        // How coreutils' and busybox's `timeout` say that they ended the command.
        (_, Some(124 | 137)) => Some(SlaveCause::TimedOut),
        (_, Some(status)) => Some(SlaveCause::Status(status)),
        (_, None) if !report.ended => Some(SlaveCause::CutShort(output.status)),
        _ => None,
    }
}

fn told(
    host: &dyn Host,
    log_path: Option<String>,
    failure: Failure,
    undone: Vec<String>,
    left: Vec<String>,
) -> SlaveError {
    SlaveError {
        machine: host.name().to_owned(),
        step: failure.step,
        exit_status: failure.report.failed,
        last_lines: failure.report.last_lines,
        log_path,
        undone,
        left,
        cause: *failure.cause,
    }
}
