//! `raptor compute`

use clap::Args;
use clap::Subcommand;
use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::exit_status::ExitStatus;
use crate::cli::hands;
use crate::cli::hands::back_ends::BackEnd;
use crate::cli::invocation::Invocation;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::compute::catalog::Catalog;
use crate::compute::catalog::Offer;
use crate::compute::catalog::Size;

/// Where machines come from: what is configured, whether it answers, what it offers
#[derive(Debug, Subcommand)]
#[command(after_long_help = "Examples:
  raptor compute ls
  raptor compute check docker
  raptor compute catalog hetzner")]
pub enum ComputeCommand {
    /// List the compute types that are configured
    #[command(after_long_help = "Examples:
  raptor compute ls")]
    Ls,
    /// Say whether a compute type could make machines
    #[command(after_long_help = "Examples:
  raptor compute check
  raptor compute check docker")]
    Check(TypeArguments),
    /// Show the sizes, places and images that a compute type offers
    #[command(after_long_help = "Examples:
  raptor compute catalog hetzner
  raptor compute catalog digitalocean -o json")]
    Catalog(TypeArguments),
}

/// Which one.
#[derive(Debug, Args)]
pub struct TypeArguments {
    /// The compute type [default: default_compute_type of the configuration]
    #[arg(value_name = "TYPE")]
    pub compute_type: Option<String>,
}

/// Runs one of them.
///
/// # Errors
/// There is no such compute type, or it does not answer.
pub async fn run(invocation: &Invocation, command: ComputeCommand) -> Result<ExitStatus, CliError> {
    match command {
        ComputeCommand::Ls => list(invocation).await,
        ComputeCommand::Check(arguments) => check(invocation, arguments.compute_type).await,
        ComputeCommand::Catalog(arguments) => catalog(invocation, arguments.compute_type).await,
    }
}

async fn list(invocation: &Invocation) -> Result<ExitStatus, CliError> {
    let back_ends: Vec<BackEnd> = hands::back_ends::configured(invocation).await?;
    if invocation.format.is_json() {
        let all: Vec<_> = back_ends
            .iter()
            .map(|it| {
                json!({
                    "name": it.name,
                    "driver": it.driver,
                    "is_default": it.is_default,
                    "description": it.description,
                })
            })
            .collect();
        print_json(&json!(all))?;
        return Ok(ExitStatus::DONE);
    }
    let mut table = Table::new(["NAME", "DRIVER", "DEFAULT", "DESCRIPTION"]);
    for it in back_ends {
        let mark = if it.is_default { "yes" } else { "" };
        table.push([it.name, it.driver, mark.to_owned(), it.description]);
    }
    print(&table.render())?;
    Ok(ExitStatus::DONE)
}

/// Prints whether a back-end could boot machines.
///
/// # Errors
/// What stands in the way.
pub async fn check(
    invocation: &Invocation,
    compute_type: Option<String>,
) -> Result<ExitStatus, CliError> {
    let (name, summary) = hands::back_ends::check_available(invocation, compute_type).await?;
    if invocation.format.is_json() {
        print_json(&json!({"compute_type": name, "available": true, "summary": summary}))?;
    } else {
        print(&format!("{name}: {summary}\n"))?;
    }
    Ok(ExitStatus::DONE)
}

async fn catalog(
    invocation: &Invocation,
    compute_type: Option<String>,
) -> Result<ExitStatus, CliError> {
    let (name, catalog) = hands::back_ends::catalog(invocation, compute_type).await?;
    if invocation.format.is_json() {
        print_json(&json!({"compute_type": name, "catalog": catalog}))?;
        return Ok(ExitStatus::DONE);
    }
    match catalog {
        Some(catalog) => print(&render(&catalog))?,
        None => print(&format!("{name} has no sizes, places or images to choose from\n"))?,
    }
    Ok(ExitStatus::DONE)
}

fn render(catalog: &Catalog) -> String {
    let mut sizes = Table::new(["SIZE", "PROCESSORS", "MEMORY MB", "DISK GB", "A MONTH"]);
    for size in &catalog.sizes {
        let Size { name, processors, memory_mb, disk_gb, price } = size;
        let price = price.as_ref();
        let price = price.map(|price| format!("{:.2} {}", price.monthly, price.currency));
        let numbers = [processors, memory_mb, disk_gb].map(ToString::to_string);
        let [processors, memory, disk] = numbers;
        sizes.push([name.clone(), processors, memory, disk, price.unwrap_or_default()]);
    }
    let offers = |heading: &str, offers: &[Offer]| {
        let mut table = Table::new([heading, "WHAT"]);
        for offer in offers {
            table.push([offer.name.clone(), offer.description.clone()]);
        }
        table.render()
    };
    let (regions, images) = (offers("REGION", &catalog.regions), offers("IMAGE", &catalog.images));
    format!("{regions}\n{images}\n{}", sizes.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::catalog::Price;

    #[test]
    fn sizes_show_what_they_cost_where_that_is_known() {
        let size = |name: &str, monthly: Option<f64>| Size {
            name: name.to_owned(),
            processors: 2,
            memory_mb: 4096,
            disk_gb: 40,
            price: monthly.map(|monthly| Price { monthly, currency: "EUR".to_owned() }),
        };
        let sizes = vec![size("free", None), size("small", Some(3.29))];
        let text = render(&Catalog { sizes, ..Catalog::default() }.sorted());
        assert!(text.contains("small  2           4096       40       3.29 EUR\n"), "{text}");
        assert!(text.contains("free   2           4096       40       -\n"), "{text}");
    }
}
