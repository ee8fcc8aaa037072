//! The members table.

use crate::cli::error::CliError;
use crate::cli::output::Format;
use crate::cli::output::duration;
use crate::cli::output::print;
use crate::cli::output::print_json;
use crate::cli::output::table::Table;
use crate::model::member::Member;
use crate::model::time::Timestamp;

/// Prints members, by name.
///
/// # Errors
/// Standard output is gone.
pub fn print_members(
    format: Format,
    mut members: Vec<Member>,
    now: Timestamp,
) -> Result<(), CliError> {
    members.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
    match format {
        Format::Json => print_json(&members),
        _ => print(&table(&members, format == Format::Wide, now)),
    }
}

fn table(members: &[Member], wide: bool, now: Timestamp) -> String {
    let narrow = ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC"];
    let rest: &[&str] = if wide { &["Compute", "Via", "RTT", "Age"] } else { &[] };
    let mut table = Table::new(narrow.iter().chain(rest).copied());
    for member in members {
        let mut cells = narrow_cells(member);
        if wide {
            cells.extend(wide_cells(member, now));
        }
        table.push(cells);
    }
    table.render()
}

fn narrow_cells(member: &Member) -> Vec<String> {
    // A member that was never seen has told neither build nor protocol.
    let protocol = if member.protocol == 0 { String::new() } else { member.protocol.to_string() };
    vec![
        member.name.to_string(),
        member.address.to_string(),
        member.status.to_string(),
        member.server_type.clone(),
        member.build.clone(),
        protocol,
        member.dc.to_string(),
    ]
}

fn wide_cells(member: &Member, now: Timestamp) -> Vec<String> {
    vec![
        member.compute_type.clone(),
        member.via.as_ref().map(ToString::to_string).unwrap_or_default(),
        member.rtt_ms.map(|rtt| format!("{rtt:.1} ms")).unwrap_or_default(),
        duration::show(now.since(member.joined_at)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::testing::key;
    use crate::model::member::Status;

    fn member(name: &str, status: Status) -> Member {
        Member {
            id: key(0).node_id(),
            name: name.parse().unwrap(),
            address: "fc00::1".parse().unwrap(),
            status,
            server_type: "headless".to_owned(),
            build: "0.1.0".to_owned(),
            protocol: 1,
            dc: "default".parse().unwrap(),
            compute_type: "local".to_owned(),
            endpoints: Vec::new(),
            nat: crate::model::nat::NatKind::Unknown,
            via: None,
            rtt_ms: Some(0.44),
            joined_at: Timestamp::from_millis(1_000),
            labels: std::collections::BTreeMap::default(),
        }
    }

    #[test]
    fn the_columns_are_those_of_the_contract() {
        let mut booting = member("web-10", Status::Booting);
        (booting.protocol, booting.build) = (0, String::new());
        let members = [member("web-2", Status::Alive), booting];
        let now = Timestamp::from_millis(62_000);
        assert_eq!(
            table(&members, false, now),
            "Node    Address  Status   Type      Build  Protocol  DC\n\
             web-2   fc00::1  alive    headless  0.1.0  1         default\n\
             web-10  fc00::1  booting  headless  -      -         default\n"
        );
        let wide = table(&members[..1], true, now);
        assert!(wide.lines().next().unwrap().ends_with("DC       Compute  Via  RTT     Age"));
        assert!(wide.lines().last().unwrap().ends_with("default  local    -    0.4 ms  1m 1s"));
    }
}
