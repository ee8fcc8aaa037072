//! Ports that a router leads to a member, asked for by the member: Debian's miniupnpd.

use std::fs;

use serde_json::json;

use crate::e2e::namespaces::routers::{cluster, wait_for_hops, wait_for_link, wait_for_nat};
use crate::support::internet::{Internet, Kind, Router};
use crate::support::overlay::{Member, may_enter};
use crate::support::run::Running;
use crate::support::sandbox::{CONVERGENCE_LIMIT, Sandbox};
use crate::support::wait::wait_until;

/// What makes its chains part of the router's way.
const CHAINS: &str = "table inet ports {
  chain forwarded {
  }
  chain forward {
    type filter hook forward priority -10
    jump forwarded
  }
  chain inward {
  }
  chain back {
    type nat hook prerouting priority -110
    jump inward
  }
  chain outward {
  }
  chain out {
    type nat hook postrouting priority 110
    jump outward
  }
}
";

/// Has the router answer who asks it for ports, by `protocol`: `natpmp` (and PCP), or `upnp`.
/// A port is given for `seconds` at most. The cable inwards must be there.
fn listen(sandbox: &Sandbox, router: &Router, protocol: &str, seconds: u32) -> Running {
    router.enter(sandbox, "nft").args(["-f", "-"]).stdin(CHAINS).success();
    let is = |one| if one == protocol { "yes" } else { "no" };
    let config = format!(
        "ext_ifname=out0\nlistening_ip=inside\nhttp_port=5000\n\
         enable_natpmp={}\nenable_upnp={}\nsecure_mode=yes\nsystem_uptime=yes\n\
         min_lifetime=2\nmax_lifetime={seconds}\n\
         uuid=a66fda26-0dbe-4810-a569-699a85c79425\nupnp_table_name=ports\n\
         upnp_nat_table_name=ports\nupnp_forward_chain=forwarded\nupnp_nat_chain=inward\n\
         upnp_nat_postrouting_chain=outward\nallow 1024-65535 0.0.0.0/0 1024-65535\n",
        is("natpmp"),
        is("upnp"),
    );
    let file = sandbox.path().join(format!("miniupnpd-{protocol}.conf"));
    fs::write(&file, config).unwrap();
    let pid = file.with_extension("pid");
    let daemon = router.enter(sandbox, "miniupnpd").arg("-d").arg("-f").arg(&file);
    let running = daemon.arg("-P").arg(&pid).start();
    wait_until(CONVERGENCE_LIMIT, "miniupnpd", || {
        let sockets = router.enter(sandbox, "ss").args(["-Hlun"]).success().stdout;
        let port = if protocol == "natpmp" { ":5351 " } else { ":1900 " };
        if sockets.contains(port) { Ok(()) } else { Err(sockets) }
    });
    running
}

/// Waits until the router leads `count` ports inwards.
fn wait_for_ports(sandbox: &Sandbox, router: &Router, count: usize) {
    wait_until(CONVERGENCE_LIMIT, &format!("{count} ports led inwards"), || {
        let list = ["list", "chain", "inet", "ports", "inward"];
        let rules = router.enter(sandbox, "nft").args(list).success().stdout;
        let found = rules.matches("dnat ").count();
        if found == count { Ok(()) } else { Err(rules) }
    });
}

/// Waits until `member` says that it can be dialled at a port of the router.
fn wait_for_endpoint(sandbox: &Sandbox, member: &Member, router: &Router) {
    wait_until(CONVERGENCE_LIMIT, "an endpoint at the router", || {
        let run = member.raptor(sandbox).args(["status", "-o", "json"]).run();
        let is_there = run.stdout.contains(&format!("\"{}:", router.outer));
        if is_there { Ok(()) } else { Err(format!("{run:?}")) }
    });
}

fn config() -> serde_json::Value {
    json!({"mesh": {"listen": "[::]:0", "rings": 8, "port_mapping": true}})
}

/// One member that asks its router for a port and gives it back.
fn asks_and_gives_back(protocol: &str) {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let internet = Internet::new(&sandbox);
    let router = internet.router(&sandbox, Kind::PortRestricted);
    let home = router.machine(&sandbox);
    let _daemon = listen(&sandbox, &router, protocol, 600);
    let mut member = Member::enter(&sandbox, home, "ann", &config(), None);
    member.run(&sandbox, false);
    wait_for_endpoint(&sandbox, &member, &router);
    wait_for_ports(&sandbox, &router, 1);
    member.raptor(&sandbox).args(["agent", "stop"]).success();
    wait_for_ports(&sandbox, &router, 0);
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_port_is_had_by_upnp_and_given_back() {
    asks_and_gives_back("upnp");
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_member_behind_a_symmetric_router_is_dialled_at_the_port_that_it_asked_for() {
    if !may_enter() {
        return;
    }
    let sandbox = Sandbox::new();
    let internet = Internet::new(&sandbox);
    let routers = [(); 2].map(|()| internet.router(&sandbox, Kind::Symmetric));
    let homes = routers.each_ref().map(|router| router.machine(&sandbox));
    // So short that it is asked for again while the test lasts.
    let _daemon = listen(&sandbox, &routers[0], "natpmp", 4);
    let members = cluster(&sandbox, &internet, homes, &config());
    let [_, _, left, right] = &members;
    wait_for_nat(&sandbox, right, "symmetric");
    wait_for_endpoint(&sandbox, left, &routers[0]);
    // Without it these two never meet (`symmetric_routers_are_passed_through_others`).
    wait_for_link(&sandbox, right, "h0", &routers[0].outer);
    wait_for_hops(&sandbox, left, "h1", 1);
    wait_for_ports(&sandbox, &routers[0], 1);
    wait_until(CONVERGENCE_LIMIT, "what the other router said", || {
        let run = right.raptor(&sandbox).args(["status"]).run();
        if run.stdout.contains("gives no port") { Ok(()) } else { Err(format!("{run:?}")) }
    });
    left.raptor(&sandbox).args(["agent", "stop"]).success();
    wait_for_ports(&sandbox, &routers[0], 0);
}
