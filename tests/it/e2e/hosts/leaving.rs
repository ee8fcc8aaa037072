//! Hosts that were taken over, and are rid of raptor again.

use super::{Site, traces};
use crate::support::container::Container;

/// What [`traces`] does not look for.
fn remains(host: &Container) -> String {
    host.sh("for place in /var/log/raptor /tmp/raptor-0; do
         if [ -e \"$place\" ]; then echo \"$place\"; fi
         done")
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn destroy_and_clean_leave_nothing_of_raptor() {
    let site = Site::new();
    let (destroyed, cleaned) = (site.host("destroyed"), site.host("cleaned"));
    site.slave(&[&site.destination(&destroyed), &site.destination(&cleaned)]).success();
    site.sandbox.wait_for_alive(2);
    let run = site.sandbox.raptor(["-o", "json", "destroy", "destroyed", "--yes"]).success();
    run.stdout_contains("evicted, raptor taken off it");
    assert_eq!(traces(&destroyed) + &remains(&destroyed), "");

    let planned = cleaned.input(&["raptor", "clean", "--dry-run"], b"");
    assert!(planned.contains("remove /usr/local/lib/raptor\n"), "{planned}");
    cleaned.input(&["raptor", "clean", "--yes"], b"");
    assert_eq!(traces(&cleaned) + &remains(&cleaned), "");
}
