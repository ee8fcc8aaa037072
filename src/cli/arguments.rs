//! The command line as types. The doc comments are the help texts.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::cli::commands;
use crate::cli::commands::agent::AgentCommand;
use crate::cli::endpoint::Endpoint;
use crate::cli::output::Format;
use crate::model::name::Name;

/// Turn machines you can reach over SSH into one self-healing data centre.
///
/// Every machine carries the whole description of the platform; any one survivor rebuilds the rest.
#[derive(Debug, Parser)]
#[command(
    name = "raptor",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_long_help = "Examples:
  raptor spawn --count 3               a cluster of three machines on this computer
  raptor slave root@10.0.0.7           take an existing machine over
  raptor members                       who is there
  raptor exec -- uname -a              run a program on all of them
  raptor ssh web-1                     a shell on one
  raptor forward 8080:web-1:80         its port 80 as port 8080 here
  raptor destroy --all                 give everything back"
)]
pub struct Arguments {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
#[allow(clippy::struct_excessive_bools)] // Each is a flag of the command line.
pub struct GlobalArguments {
    /// The cluster that is meant [default: the current context, at first `default`]
    #[arg(short, long, global = true, value_name = "NAME", env = "RAPTOR_CLUSTER")]
    pub cluster: Option<Name>,

    /// Where state lives [default: $XDG_STATE_HOME/raptor; for root /var/lib/raptor]
    #[arg(long, global = true, value_name = "DIR", env = "RAPTOR_HOME")]
    pub home: Option<PathBuf>,

    /// Talk to this agent: unix:PATH or [USER@]HOST[:PORT] through SSH
    #[arg(long, global = true, value_name = "AGENT")]
    pub connect: Option<Endpoint>,

    /// Read this file instead of mutable_config.json in the home folder
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How the answer is printed
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,

    /// The same as `-o json`
    #[arg(long, global = true)]
    pub json: bool,

    /// Tell more; again for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Only the answer and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Ask for the password of sudo, where a machine is entered as a user who has to give one
    #[arg(long, global = true)]
    pub ask_sudo_pass: bool,

    /// Answer every question with yes
    #[arg(short, long, global = true, env = "RAPTOR_YES", value_parser = FalseyValueParser::new())]
    pub yes: bool,

    /// Print what would be done, and do nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
}

impl GlobalArguments {
    /// How answers are printed.
    #[must_use]
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)] // A comment here would hide the help text that stands beside the arguments.
pub enum Command {
    Spawn(commands::spawn::SpawnArguments),
    Slave(commands::slave::SlaveArguments),
    Join(commands::join::JoinArguments),
    #[command(subcommand)]
    Ticket(commands::ticket::TicketCommand),
    Members(commands::members::MembersArguments),
    Status(commands::status::StatusArguments),
    Mesh(commands::mesh::MeshArguments),
    Ping(commands::ping::PingArguments),
    Trace(commands::trace::TraceArguments),
    Ssh(commands::ssh::SshArguments),
    Exec(commands::exec::ExecArguments),
    Forward(commands::forward::ForwardArguments),
    Proxy(commands::proxy::ProxyArguments),
    Evict(commands::evict::EvictArguments),
    Destroy(commands::destroy::DestroyArguments),
    Prune(commands::prune::PruneArguments),
    Clean(commands::clean::CleanArguments),
    Plan(commands::plan::PlanArguments),
    Scale(commands::scale::ScaleArguments),
    Hook(commands::hook::HookArguments),
    #[command(subcommand)]
    Rule(commands::rule::RuleCommand),
    #[command(subcommand)]
    Secret(commands::secret::SecretCommand),
    Backup(commands::backup::BackupArguments),
    Restore(commands::restore::RestoreArguments),
    #[command(subcommand)]
    Compute(commands::compute::ComputeCommand),
    Install(commands::install::InstallArguments),
    #[command(subcommand)]
    Artefact(commands::artefact::ArtefactCommand),
    Package(commands::package::PackageArguments),
    #[command(subcommand)]
    Provider(commands::provider::ProviderCommand),
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    #[command(subcommand)]
    Context(commands::context::ContextCommand),
    #[command(subcommand)]
    Agent(AgentCommand),
    Completion(commands::completion::CompletionArguments),
    Version(commands::version::VersionArguments),
    #[command(hide = true)]
    ConnectStream(commands::connect_stream::ConnectStreamArguments),
}

impl Command {
    /// Whether it runs for as long as the machine does.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Agent(AgentCommand::Run | AgentCommand::Supervise))
    }

    /// Whether Ctrl-C is the command's own affair: it undoes or names what is half made.
    #[must_use]
    pub fn handles_interrupt(&self) -> bool {
        match self {
            Self::Spawn(_)
            | Self::Slave(_)
            | Self::Join(_)
            | Self::Destroy(_)
            | Self::Prune(_)
            | Self::Package(_)
            | Self::Restore(_)
            | Self::Ping(_)
            | Self::Agent(_) => true,
            Self::Ticket(_)
            | Self::Members(_)
            | Self::Status(_)
            | Self::Mesh(_)
            | Self::Trace(_)
            | Self::Ssh(_)
            | Self::Exec(_)
            | Self::Forward(_)
            | Self::Proxy(_)
            | Self::Evict(_)
            | Self::Clean(_)
            | Self::Compute(_)
            | Self::Provider(_)
            | Self::Plan(_)
            | Self::Scale(_)
            | Self::Hook(_)
            | Self::Rule(_)
            | Self::Install(_)
            | Self::Artefact(_)
            | Self::Secret(_)
            | Self::Backup(_)
            | Self::Config(_)
            | Self::Context(_)
            | Self::Completion(_)
            | Self::Version(_)
            | Self::ConnectStream(_) => false,
        }
    }

    /// Whether the command starts from the merged, validated configuration. The others must work
    /// while the configuration is broken: they mend it, or need none.
    #[must_use]
    pub fn needs_configuration(&self) -> bool {
        match self {
            Self::Spawn(_)
            | Self::Slave(_)
            | Self::Join(_)
            | Self::Ticket(_)
            | Self::Members(_)
            | Self::Status(_)
            | Self::Mesh(_)
            | Self::Ping(_)
            | Self::Trace(_)
            | Self::Ssh(_)
            | Self::Exec(_)
            | Self::Forward(_)
            | Self::Proxy(_)
            | Self::Evict(_)
            | Self::Destroy(_)
            | Self::Prune(_)
            | Self::Compute(_)
            | Self::Plan(_)
            | Self::Scale(_)
            | Self::Hook(_)
            | Self::Rule(_)
            | Self::Package(_)
            | Self::Artefact(_)
            | Self::Secret(_)
            | Self::Backup(_)
            | Self::Restore(_) => true,
            Self::Clean(_)
            | Self::Install(_)
            | Self::Provider(_)
            | Self::Config(_)
            | Self::Context(_)
            | Self::Agent(_)
            | Self::Completion(_)
            | Self::Version(_)
            | Self::ConnectStream(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// One of each form of every command.
    const UNDERSTOOD: &[&str] = &[
        "spawn --compute-type docker --server-type headless --count 3 --label a=b",
        "spawn --name web-1 --no-provision --no-join --check-available",
        "slave root@a:2222 b -i key --via jump --concurrent 4 --no-provision",
        "slave --inventory hosts.json",
        "join root@a",
        "ticket create --ttl 10m --uses 2",
        "ticket ls",
        "ticket revoke abc",
        "members --rejoin",
        "status",
        "ssh",
        "ssh web-1 --info-only",
        "ssh web-1 -- ls -l",
        "exec --on zone=home --timeout 5s -- uname -a",
        "mesh --node web-1",
        "ping web-1 -n 0 -i 200ms -t 5s",
        "trace web-1 -n 1 -m 5",
        "agent metrics",
        "forward 8080:web-1:80 [::1]:0:web-2:22",
        "proxy 1080",
        "proxy *:1080 --direct --login-file f",
        "evict web-1",
        "destroy --all",
        "destroy web-1 web-2",
        "prune",
        "clean",
        "plan",
        "hook cluster_change",
        "scale 5",
        "scale 0 --rule web",
        "rule add web --select zone=home --min 2 --max 3 --compute-type local --ttl 2h",
        "rule add web --min 2",
        "rule ls",
        "rule rm web",
        "install",
        "install ./modules/web",
        "install owner/repository@v1.2",
        "install web --remove",
        "artefact add --target aarch64 ./raptor",
        "artefact add --seal vault --name data ./file",
        "artefact ls",
        "artefact get data ./file",
        "artefact rm data",
        "package --compute-type docker --server-type consul --image mine:1",
        "secret set token --select zone=home --note x",
        "secret set token",
        "secret ls",
        "backup",
        "backup /mnt/b s3://bucket --keep 3 --secret s3",
        "restore /mnt/b --key k --compute-type local --force",
        "secret rm token",
        "secret rotate token",
        "secret recovery --new",
        "config show --effective",
        "config show --layer document",
        "config get mesh.rings",
        "config set mesh.rings 3",
        "config unset mesh.rings",
        "config edit",
        "config apply file.json",
        "config export",
        "config log",
        "config check file.json",
        "config schema",
        "context ls",
        "context use default",
        "context show",
        "context rm default",
        "agent run",
        "agent supervise",
        "agent status",
        "agent stop",
        "agent init",
        "agent adopt",
        "agent connect",
        "completion bash",
        "version -o json",
        "connect-stream web-1 22",
    ];

    fn parse(text: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(text.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        for text in [
            "raptor -c two -o json --home /h -y --dry-run members",
            "raptor members -c two --json --home /h -y --dry-run",
        ] {
            let global = parse(text).unwrap().global;
            assert_eq!(global.cluster.as_ref().unwrap().as_str(), "two");
            assert!(global.format().is_json() && global.yes && global.dry_run);
            assert_eq!(global.home.as_deref(), Some(std::path::Path::new("/h")));
        }
    }

    #[test]
    fn every_command_of_the_contract_is_understood() {
        for text in UNDERSTOOD {
            if let Err(error) = parse(&format!("raptor {text}")) {
                panic!("{text}: {error}");
            }
        }
    }

    #[test]
    fn nonsense_is_refused_as_usage() {
        for text in [
            "",
            "spawn --count 0",
            "spawn --count 2 --name a",
            "slave",
            "slave -oProxyCommand=x@a",
            "exec",
            "destroy",
            "destroy --all web-1",
            "ping",
            "ping web-1 -i 1ms",
            "ping web-1 -t 0s",
            "trace web-1 -m 33",
            "forward",
            "forward 80:web-1",
            "forward 80:web-1:0",
            "proxy",
            "proxy a:b:c",
            "-c Not_A_Name members",
            "-q -v members",
            "ticket create --ttl soon",
            "scale",
            "scale many",
            "rule add web",
            "unknown",
        ] {
            let error = parse(&format!("raptor {text}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
        }
    }
}
