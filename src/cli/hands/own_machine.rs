//! `join` as root on a machine of its own: what `slave` does to others is done to this one, so that
//! its agent starts at boot; the cluster's side of it is a ticket.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::agent::clock::wall_clock;
use crate::agent::enter;
use crate::agent::error::chain;
use crate::agent::initialise;
use crate::agent::perform::settings::Performer;
use crate::agent::ticket::Ticket;
use crate::cli::error::CliError;
use crate::cli::hands::entering::wait_until_inside;
use crate::cli::hands::failure;
use crate::config::home::Home;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::provision::check::Requirements;
use crate::provision::layout::Layout;
use crate::provision::order::Admission;
use crate::provision::order::HEALTH_TIMEOUT_DEFAULT;
use crate::provision::order::InitReply;
use crate::provision::order::JoinOrder;
use crate::provision::order::Order;
use crate::provision::slave::slave;
use crate::reconcile::world::ADOPTED;
use crate::ssh::local::LocalHost;

/// Where OpenSSH listens when nobody says.
const SSH_PORT: u16 = 22;

/// Whether `home` is that of a machine's own agent, which root may put there.
pub fn is_own(home: &Home) -> bool {
    rustix::process::geteuid().is_root() && home.root() == Path::new(&Layout::default().home())
}

/// Provisions this machine, puts the agent on it and enters with `ticket`; its name there.
///
/// # Errors
/// The step that failed; the machine is as it was then.
pub async fn take_over(
    performer: &Performer,
    ticket: Ticket,
    name: &Name,
    progress: &Arc<dyn Progress>,
) -> Result<Name, CliError> {
    let order = order(performer, &ticket, name)?;
    let host = LocalHost::new(name.to_string(), "/");
    let home = performer.home().clone();
    let door = TicketDoor { home: home.clone(), ticket };
    match slave(&host, &order, &door, progress).await {
        Ok(slaved) => {
            let words = std::fs::metadata(home.log_file()).map_or(0, |metadata| metadata.len());
            wait_until_inside(&home, &slaved.name, words, progress.as_ref()).await?;
            Ok(slaved.name)
        }
        Err(error) => {
            let text = format!("{}: {}", error.step, chain(&error.cause));
            let lines = error.last_lines.iter().map(|line| format!("| {line}"));
            let undone = error.undone.iter().map(|what| format!("undone: {what}"));
            let told = CliError::user(text).with_hint(error.hint());
            Err(lines.chain(undone).fold(told, CliError::with_detail))
        }
    }
}

fn order(performer: &Performer, ticket: &Ticket, name: &Name) -> Result<Order, CliError> {
    let config = performer.config();
    let server_type = &config.default_server_type;
    let mut init = Map::new();
    let mut set = |key: &str, value: Value| init.insert(key.to_owned(), value);
    set("name", json!(name));
    set("compute_type", json!(ADOPTED));
    set("server_type", json!(server_type));
    set("listen", json!(config.mesh.listen));
    set("ssh_port", json!(SSH_PORT));
    Ok(Order {
        layout: Layout::default(),
        requirements: Requirements {
            architecture: std::env::consts::ARCH.to_owned(),
            free_bytes: config.provision.free_disk_mb.saturating_mul(1024 * 1024),
            now: wall_clock(),
            cluster: Some(ticket.genesis.cluster_id()),
            has_sudo_password: false,
            force: false,
        },
        is_root: false,
        is_new: false,
        modules: performer.module_inputs(server_type).map_err(failure)?,
        join: Some(JoinOrder {
            program: performer.program().map_err(failure)?,
            init,
            health_timeout: HEALTH_TIMEOUT_DEFAULT,
        }),
    })
}

/// The cluster as a ticket opens it.
struct TicketDoor {
    home: Home,
    ticket: Ticket,
}

impl Admission for TicketDoor {
    fn admit<'a>(
        &'a self,
        _machine: &'a str,
        name: &'a Name,
        _reply: &'a InitReply,
    ) -> BoxFuture<'a, Result<Value, Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            let (key, _) = initialise::load(&self.home)?;
            let bootstrap = enter::enter(self.ticket.clone(), &key, name.clone()).await?;
            Ok(json!(bootstrap))
        })
    }

    /// A ticket opens the door and no other; a member that never came up is pruned.
    fn withdraw<'a>(&'a self, _reply: &'a InitReply) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}
