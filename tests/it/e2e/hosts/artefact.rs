//! Machines of another architecture get the raptor that the cluster keeps for them.

use std::fs;
use std::path::Path;

use super::{Site, WORK_LIMIT, wait_for_agreement};
use crate::support::container::Container;
use crate::support::wait::wait_until;

/// A host that calls itself something else, and the program that runs there: what is built for the
/// tests stands apart, and the artefact calls it.
fn foreign(site: &Site) -> Container {
    let host = site.host("foreign");
    host.copy(Path::new(env!("CARGO_BIN_EXE_raptor")), "/opt/raptor");
    let uname = "#!/bin/sh\n[ \"$*\" = -m ] && { echo riscv64; exit; }\nexec /bin/uname \"$@\"\n";
    host.input(&["sh", "-c", "cat >/usr/local/bin/uname"], uname.as_bytes());
    host.sh("chmod 0755 /usr/local/bin/uname");
    host
}

#[test]
#[ignore = "end to end: run by ./runtests.sh"]
fn a_machine_of_another_architecture_gets_its_own_raptor_or_is_refused() {
    let site = Site::new();
    let (own, foreign) = (site.host("own"), foreign(&site));
    let (own_place, foreign_place) = (site.destination(&own), site.destination(&foreign));
    site.slave(&[&own_place]).success();
    let refused = site.slave(&[&foreign_place]).run().status(1);
    refused
        .stderr_contains("the processor is riscv64, this raptor is for ")
        .stderr_contains("`raptor artefact add --target ARCHITECTURE FILE`");
    assert_eq!(foreign.sh("ls /usr/local/lib"), "");

    let program = site.sandbox.path().join("program");
    fs::write(&program, "#!/bin/sh\nexec /opt/raptor \"$@\"\n").unwrap();
    let add = ["artefact", "add", "--target", "riscv64"];
    site.sandbox.raptor(add).arg(&program).success();
    let listed = site.sandbox.raptor(["artefact", "ls"]).success();
    listed.stdout_contains("raptor-riscv64").stdout_contains(" riscv64 ");
    site.slave(&[&foreign_place]).success();
    wait_for_agreement(&[&own, &foreign], 2);
    let installed = foreign.sh("cat /usr/local/lib/raptor/current/raptor");
    assert_eq!(installed, fs::read_to_string(&program).unwrap());
    wait_until(WORK_LIMIT, "the artefact on both", || {
        let both = [&own, &foreign].map(|host| host.sh("ls /var/lib/raptor/artefacts || true"));
        if both[0] == both[1] && both[0].trim().len() == 64 { Ok(()) } else { Err(both.concat()) }
    });
    // Again: nothing is copied anew, and nothing else.
    site.slave(&[&foreign_place]).success();
    assert_eq!(foreign.sh("cat /usr/local/lib/raptor/current/raptor"), installed);
}
