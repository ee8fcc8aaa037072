//! `raptor ping`

use std::fmt::Write as _;
use std::time::Duration;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::agent::api::EchoReport;
use crate::agent::api::EchoRequest;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::interrupt::Interrupt;
use crate::cli::invocation::Invocation;
use crate::cli::output::duration;
use crate::cli::output::print;
use crate::cli::output::table::printable;
use crate::model::member::Member;

/// Shortest time between two questions: a member answers a bounded number of them.
const INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Longest wait for an answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Ask a member for a sign of life, through the mesh
///
/// The question and the answer go from agent to agent, over as many members as lie between; each
/// answer proves which member it comes from. Neither root nor a network device is needed. The exit
/// status is 1 when no answer came.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  raptor ping web-1
  raptor ping web-1 -n 100 -i 200ms
  raptor ping web-1 -n 0                 until Ctrl-C
  raptor ping web-1 -q -n 1 && echo it answers
  raptor ping web-1 -o json              one object a line, the summary last")]
pub struct PingArguments {
    /// Name, id or unique beginning of an id
    pub node: String,

    /// Questions to ask; 0 for as many as there is time for
    #[arg(short = 'n', long, value_name = "N", default_value_t = 4)]
    pub count: u64,

    /// Time between two questions, at least 20ms
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// How long to wait for an answer, at most 1m
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = patience)]
    pub timeout: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    let shortest = INTERVAL_MIN.as_millis();
    let told = format!("expected at least {shortest}ms");
    if interval >= INTERVAL_MIN { Ok(interval) } else { Err(told) }
}

fn patience(text: &str) -> Result<Duration, String> {
    let patience = duration::parse(text)?;
    if patience <= TIMEOUT_MAX { Ok(patience) } else { Err("expected at most 1m".to_owned()) }
}

/// What came of all questions.
#[derive(Debug, Default)]
struct Summary {
    sent: u64,
    rtts_ms: Vec<f64>,
}

/// Asks, and prints each answer as it comes.
///
/// # Errors
/// No agent answers, or the member is unknown.
pub async fn run(
    invocation: &Invocation,
    arguments: PingArguments,
    mut interrupt: Interrupt,
) -> Result<ExitStatus, CliError> {
    let connection = connection::open(invocation).await?;
    let member = connection.member(&arguments.node).await?;
    let request = EchoRequest {
        node: member.id.to_string(),
        ttl: None,
        timeout_ms: u64::try_from(arguments.timeout.as_millis()).unwrap_or(u64::MAX),
    };
    let mut summary = Summary::default();
    while arguments.count == 0 || summary.sent < arguments.count {
        let began = Instant::now();
        let asking = connection.client.echo(&request);
        let report = tokio::select! {
            report = asking => report?,
            () = interrupt.raised() => break,
        };
        summary.sent += 1;
        summary.rtts_ms.extend(report.answer.as_ref().map(|answer| answer.rtt_ms));
        tell(invocation, &member, summary.sent, &report)?;
        if summary.sent == arguments.count {
            break;
        }
        let rest = arguments.interval.saturating_sub(began.elapsed());
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = interrupt.raised() => break,
        }
    }
    finish(invocation, &member, &summary)?;
    Ok(if summary.rtts_ms.is_empty() { ExitStatus::FAILED } else { ExitStatus::DONE })
}

fn tell(
    invocation: &Invocation,
    member: &Member,
    sequence: u64,
    report: &EchoReport,
) -> Result<(), CliError> {
    let answer = report.answer.as_ref();
    if invocation.format.is_json() {
        let line = json!({
            "sequence": sequence,
            "node": member.name,
            "address": member.address,
            "rtt_ms": answer.map(|answer| answer.rtt_ms),
            "hops": answer.map(|answer| answer.hops),
            "error": report.error,
        });
        return print(&format!("{line}\n"));
    }
    if invocation.quiet {
        return Ok(());
    }
    let what = match (answer, &report.error) {
        (Some(answer), _) => {
            let hops = answer.hops;
            let links = if hops == 1 { "link" } else { "links" };
            format!("{:.2} ms over {hops} {links}", answer.rtt_ms)
        }
        (None, Some(error)) => printable(error),
        (None, None) => "no answer".to_owned(),
    };
    print(&format!("{} ({}): {sequence}: {what}\n", member.name, member.address))
}

fn finish(invocation: &Invocation, member: &Member, summary: &Summary) -> Result<(), CliError> {
    let Summary { sent, rtts_ms } = summary;
    let received = rtts_ms.len() as u64;
    let lost = sent.saturating_sub(received);
    let lost_percent = if *sent == 0 { 0 } else { lost * 100 / sent };
    let spread = spread(rtts_ms);
    if invocation.format.is_json() {
        let line = json!({
            "summary": {
                "node": member.name,
                "sent": sent,
                "received": received,
                "loss": if *sent == 0 { 0.0 } else { ratio(lost, *sent) },
                "rtt_min_ms": spread.map(|spread| spread.0),
                "rtt_mean_ms": spread.map(|spread| spread.1),
                "rtt_max_ms": spread.map(|spread| spread.2),
            }
        });
        return print(&format!("{line}\n"));
    }
    let mut text = format!("{}: {received} of {sent} answered, {lost_percent} % lost", member.name);
    if let Some((least, mean, most)) = spread {
        let _ = write!(text, "; {least:.2} ms least, {mean:.2} ms mean, {most:.2} ms most");
    }
    print(&format!("{text}\n"))
}

#[allow(clippy::cast_precision_loss)] // Counts of questions are far below 2^53.
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// The least, the mean and the most.
#[allow(clippy::cast_precision_loss)] // As above.
fn spread(rtts_ms: &[f64]) -> Option<(f64, f64, f64)> {
    if rtts_ms.is_empty() {
        return None;
    }
    let least = rtts_ms.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rtts_ms.iter().copied().fold(0.0, f64::max);
    Some((least, rtts_ms.iter().sum::<f64>() / rtts_ms.len() as f64, most))
}
