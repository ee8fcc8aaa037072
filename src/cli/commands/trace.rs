//! `raptor trace`

use clap::Args;
use serde::Serialize;

use crate::agent::api::EchoRequest;
use crate::cli::connection;
use crate::cli::connection::Connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::model::member::Member;

/// How long a hop may take to answer.
const ANSWER_TIMEOUT_MS: u64 = 1_000;

/// Hops in a row that may keep silent before the trace ends.
const SILENT_MAX: usize = 3;

/// Show the members on the way to a member, and the time to each
///
/// Each is asked by a question that may go so far and no farther; the answer proves which member
/// it comes from. The exit status is 1 when the member itself did not answer.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor trace web-1
  raptor trace web-1 -n 10 -o json")]
pub struct TraceArguments {
    /// Name, id or unique beginning of an id
    pub node: String,

    /// Questions a hop
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=20)
    )]
    pub count: u8,

    /// Most hops to look at
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 32,
        value_parser = clap::value_parser!(u8).range(1..=32)
    )]
    pub max_hops: u8,
}

/// One member at one distance: the keys are a contract (`-o json`).
#[derive(Debug, PartialEq, Serialize)]
struct Hop {
    /// Links from here.
    #[serde(rename = "hop")]
    distance: u8,
    /// Name of who answered; null when nobody did.
    node: Option<String>,
    /// Its mesh address.
    address: Option<std::net::Ipv6Addr>,
    /// From each question to its answer, in milliseconds; null where none came.
    rtts_ms: Vec<Option<f64>>,
    /// Whether it is the member that is looked for.
    is_end: bool,
    /// Why nothing was sent.
    error: Option<String>,
}

/// Asks hop by hop.
///
/// # Errors
/// No agent answers, or the member is unknown.
pub async fn run(
    invocation: &Invocation,
    arguments: &TraceArguments,
) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let member = connection.member(&arguments.node).await?;
    let mut hops = Vec::new();
    let mut silent = 0;
    for distance in 1..=arguments.max_hops {
        let found = ask(&connection, &member, distance, arguments.count).await?;
        let is_over = found.iter().any(|hop| hop.is_end || hop.error.is_some());
        silent = if found.iter().all(|hop| hop.node.is_none()) { silent + 1 } else { 0 };
        hops.extend(found);
        if is_over || silent == SILENT_MAX {
            break;
        }
    }
    let reached = hops.iter().any(|hop| hop.is_end);
    if invocation.format.is_json() {
        print_json(&hops)?;
    } else {
        print(&table(&hops))?;
    }
    Ok(if reached { ExitStatus::DONE } else { ExitStatus::FAILED })
}

/// Everybody who answers at one distance; one nameless row when nobody does.
async fn ask(
    connection: &Connection,
    member: &Member,
    distance: u8,
    count: u8,
) -> Result<Vec<Hop>, CliError> {
    let request = EchoRequest {
        node: member.id.to_string(),
        ttl: Some(distance),
        timeout_ms: ANSWER_TIMEOUT_MS,
    };
    let mut hops: Vec<Hop> = Vec::new();
    let mut lost = 0;
    for _ in 0..count {
        let report = connection.client.echo(&request).await?;
        if let Some(error) = report.error {
            return Ok(vec![Hop { error: Some(error), ..nobody(distance) }]);
        }
        let Some(answer) = report.answer else {
            lost += 1;
            continue;
        };
        let name = answer.node.map_or_else(|| answer.address.to_string(), |name| name.to_string());
        // A way that changes meanwhile leads over different members.
        let known = hops.iter_mut().find(|hop| hop.address == Some(answer.address));
        match known {
            Some(hop) => hop.rtts_ms.push(Some(answer.rtt_ms)),
            None => hops.push(Hop {
                distance: answer.hops,
                node: Some(name),
                address: Some(answer.address),
                rtts_ms: vec![Some(answer.rtt_ms)],
                is_end: answer.is_end,
                error: None,
            }),
        }
    }
    if hops.is_empty() {
        hops.push(nobody(distance));
    }
    if let Some(first) = hops.first_mut() {
        first.rtts_ms.extend(std::iter::repeat_n(None, lost));
    }
    Ok(hops)
}

fn nobody(distance: u8) -> Hop {
    Hop { distance, node: None, address: None, rtts_ms: Vec::new(), is_end: false, error: None }
}

fn table(hops: &[Hop]) -> String {
    let mut table = Table::new(["Hop", "Node", "Address", "RTT"]);
    for hop in hops {
        let shown = |rtt: &Option<f64>| rtt.map_or("*".to_owned(), |rtt| format!("{rtt:.2} ms"));
        let rtts: Vec<String> = hop.rtts_ms.iter().map(shown).collect();
        table.push([
            hop.distance.to_string(),
            hop.node.clone().unwrap_or_else(|| "*".to_owned()),
            hop.address.map(|address| address.to_string()).unwrap_or_default(),
            hop.error.clone().unwrap_or_else(|| rtts.join("  ")),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_answers_are_shown_alike() {
        let answered = Hop {
            node: Some("web-1".to_owned()),
            address: Some("fc00::1".parse().unwrap()),
            rtts_ms: vec![Some(0.5), None],
            ..nobody(1)
        };
        let silent = Hop { rtts_ms: vec![None, None], ..nobody(2) };
        assert_eq!(
            table(&[answered, silent]),
            "Hop  Node   Address  RTT\n1    web-1  fc00::1  0.50 ms  *\n2    *      -        *  *\n"
        );
    }
}
