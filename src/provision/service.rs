//! How the agent starts at boot and after a crash, on each init system. Pure.
//!
//! systemd confines the agent, and starts users' programs as units of their own, which are not
//! confined: see `docs/decisions/0005-agent-confined-programs-not.md`.

use crate::provision::layout::Layout;
use crate::ssh::quote::quote;

/// What starts services on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// systemd runs.
    Systemd,
    /// OpenRC runs.
    OpenRc,
    /// runit runs.
    Runit,
    /// Something else, or nothing (a container).
    Other,
}

impl Init {
    /// The word that a step's `when` names it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::OpenRc => "openrc",
            Self::Runit => "runit",
            Self::Other => "no-init",
        }
    }
}

/// A file that a service consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFile {
    /// Where it goes.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// Its text.
    pub text: String,
}

/// The service of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its files.
    pub files: Vec<ServiceFile>,
    /// Shell text that starts it, or starts it anew.
    pub start: String,
    /// Shell text that stops it until it is started again; its failure says nothing.
    pub stop: String,
    /// Shell text that stops it and takes it away.
    pub remove: String,
}

/// The service for a machine's init system. Outside the machine's own places no init system would
/// find it, so there raptor's own supervisor serves.
#[must_use]
pub fn service(init: Init, layout: &Layout) -> Service {
    match init {
        Init::Systemd if layout.is_real() => systemd(layout),
        Init::OpenRc if layout.is_real() => openrc(layout),
        Init::Runit if layout.is_real() => runit(layout),
        _ => supervised(layout),
    }
}

/// Every file that any kind of service would have: what a probe looks for.
#[must_use]
pub fn files_of_every_kind(layout: &Layout) -> Vec<String> {
    [systemd(layout), openrc(layout), runit(layout), supervised(layout)]
        .into_iter()
        .flat_map(|service| service.files)
        .map(|file| file.path)
        .collect()
}

/// Shell text that ends and removes whichever kinds of service are there. Outside the machine's own
/// places no init system knows of any.
#[must_use]
pub fn removal_of_every_kind(layout: &Layout) -> String {
    let mut kinds = vec![supervised(layout)];
    if layout.is_real() {
        kinds.extend([systemd(layout), openrc(layout), runit(layout)]);
    }
    let removals = kinds.into_iter().filter_map(|service| {
        let first = quote(&service.files.first()?.path);
        Some(format!("if [ -e {first} ]; then\n{}\nfi\n", service.remove))
    });
    removals.collect()
}

/// What systemd keeps from the agent: everything but its home, its sockets, its terminals, its
/// network device and the list of name servers.
const CONFINEMENT: &str = "\
    NoNewPrivileges=yes\n\
    CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE\n\
    ProtectSystem=strict\n\
    # What the agent's own ssh, docker and back-ends read of root.\n\
    ProtectHome=tmpfs\n\
    BindReadOnlyPaths=-/root/.ssh -/root/.docker -/root/.config -/root/.aws\n\
    PrivateTmp=yes\n\
    PrivateDevices=yes\n\
    BindPaths=-/dev/net/tun\n\
    ProtectKernelTunables=yes\n\
    # The settings of the mesh's network device.\n\
    ReadWritePaths=-/proc/sys/net\n\
    # The members' names, where systemd-resolved does not run.\n\
    ReadWritePaths=-/etc/resolv.conf\n\
    ProtectKernelModules=yes\n\
    ProtectKernelLogs=yes\n\
    ProtectControlGroups=yes\n\
    ProtectClock=yes\n\
    ProtectHostname=yes\n\
    ProtectProc=invisible\n\
    LockPersonality=yes\n\
    MemoryDenyWriteExecute=yes\n\
    RestrictNamespaces=yes\n\
    RestrictRealtime=yes\n\
    RestrictSUIDSGID=yes\n\
    RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
    SystemCallArchitectures=native\n\
    SystemCallFilter=@system-service\n\
    SystemCallFilter=~@privileged @resources\n\
    SystemCallErrorNumber=EPERM\n\
    DevicePolicy=closed\n\
    DeviceAllow=/dev/net/tun rw\n\
    DeviceAllow=/dev/ptmx rw\n\
    DeviceAllow=/dev/tty rw\n\
    DeviceAllow=char-pts rw\n\
    KeyringMode=private\n\
    RemoveIPC=yes\n\
    UMask=0077\n";

fn systemd(layout: &Layout) -> Service {
    let text = format!(
        "[Unit]\n\
         Description=raptor agent\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={} --home {home} agent run\n\
         # Not after an end that was asked for, nor where a new start would not help: put out of\n\
         # the cluster, or another agent runs.\n\
         Restart=on-failure\n\
         RestartPreventExitStatus=78\n\
         RestartSec=1\n\
         KillMode=mixed\n\
         # A program that eats all memory must not take the agent with it.\n\
         OOMPolicy=continue\n\
         LimitNOFILE=65536\n\
         # Users' programs are units of their own: what follows binds the agent alone.\n\
         Environment=RAPTOR_RUN_THROUGH=systemd\n\
         ReadWritePaths=-{home}\n\
         {CONFINEMENT}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        layout.program(),
        home = layout.home()
    );
    let path = layout.path("/etc/systemd/system/raptor.service");
    Service {
        start: "if [ -n \"$changed\" ]; then must systemctl daemon-reload; fi\n\
                must systemctl enable raptor.service\n\
                must systemctl restart raptor.service"
            .to_owned(),
        stop: "systemctl stop raptor.service >/dev/null 2>&1 </dev/null 8>&-".to_owned(),
        remove: format!(
            "systemctl disable --now raptor.service || true; rm -f {}; systemctl daemon-reload",
            quote(&path)
        ),
        files: vec![ServiceFile { path, mode: 0o644, text }],
    }
}

/// Shell text that starts the agent of a machine that was taken over, whatever starts its services.
#[must_use]
pub fn revival_script(layout: &Layout) -> String {
    let first = |service: Service| service.files.first().map(|file| quote(&file.path));
    let [systemd, openrc, runit, supervised] =
        [systemd(layout), openrc(layout), runit(layout), supervised(layout)]
            .map(|service| first(service).unwrap_or_default());
    format!(
        "set -eu\n\
         if [ -e {systemd} ]; then systemctl restart raptor.service\n\
         elif [ -e {openrc} ]; then rc-service raptor restart\n\
         elif [ -e {runit} ]; then sv restart raptor\n\
         elif [ -e {supervised} ]; then {supervised}\n\
         else echo 'raptor is not installed there' >&2; exit 1; fi\n"
    )
}

/// Under OpenRC raptor's own supervisor runs, too: `supervise-daemon` would start an agent that its
/// cluster put out again and again, as it asks for no exit status.
fn openrc(layout: &Layout) -> Service {
    let log = format!("{}/agent/agent.log", layout.home());
    let text = format!(
        "#!/sbin/openrc-run\n\
         name=\"raptor agent\"\n\
         command={}\n\
         command_args=\"--home {} agent supervise\"\n\
         command_background=yes\n\
         pidfile=/run/raptor.pid\n\
         output_log={log}\n\
         error_log={log}\n\
         retry=TERM/20/KILL/5\n\
         \n\
         depend() {{\n\
         \tafter localmount net\n\
         }}\n",
        layout.program(),
        layout.home()
    );
    let path = layout.path("/etc/init.d/raptor");
    Service {
        start: "must rc-update add raptor default\nmust rc-service raptor restart".to_owned(),
        stop: "rc-service raptor stop >/dev/null 2>&1 </dev/null 8>&-".to_owned(),
        remove: format!(
            "rc-service raptor stop || true; rc-update del raptor default || true; rm -f {}",
            quote(&path)
        ),
        files: vec![ServiceFile { path, mode: 0o755, text }],
    }
}

/// Under runit raptor's own supervisor runs for the same reason. Where services are enabled differs
/// by distribution.
fn runit(layout: &Layout) -> Service {
    let text = format!(
        "#!/bin/sh\n\
         exec 2>&1\n\
         exec {} --home {} agent supervise\n",
        quote(&layout.program()),
        quote(&layout.home())
    );
    let path = layout.path("/etc/sv/raptor/run");
    let places = "for place in /var/service /etc/service /etc/runit/runsvdir/default; do";
    Service {
        // runsvdir looks for new services every five seconds; sv waits that long.
        start: format!(
            "{places}\nif [ -d \"$place\" ]; then link /etc/sv/raptor \"$place/raptor\"; break; fi\n\
             done\nsv restart raptor >/dev/null 2>&1 </dev/null 8>&- || true"
        ),
        stop: "sv stop raptor >/dev/null 2>&1 </dev/null 8>&-".to_owned(),
        remove: format!(
            "sv stop raptor || true; {places} rm -f \"$place/raptor\"; done; rm -rf {}",
            quote(&layout.path("/etc/sv/raptor"))
        ),
        files: vec![ServiceFile { path, mode: 0o755, text }],
    }
}

fn supervised(layout: &Layout) -> Service {
    let boot = format!("{}/boot", layout.library());
    let (program, home) = (quote(&layout.program()), quote(&layout.home()));
    let log = quote(&format!("{}/agent/agent.log", layout.home()));
    let boot_d = quote(&format!("{boot}.d"));
    let text = format!(
        "#!/bin/sh\n\
         # Starts raptor where no init system does; run at boot by cron, or by whoever starts the\n\
         # machine.\n\
         log={log}\n\
         (umask 077; mkdir -p \"${{log%/*}}\"; : >>\"$log\")\n\
         if command -v setsid >/dev/null 2>&1; then\n\
         \tset -- setsid\n\
         else\n\
         \tset --\n\
         \ttrap '' HUP\n\
         fi\n\
         \"$@\" {program} --home {home} agent supervise </dev/null >>\"$log\" 2>&1 &\n\
         # What modules keep running.\n\
         for kept in {boot_d}/*; do [ ! -x \"$kept\" ] || \"$kept\"; done\n"
    );
    let mut files = vec![ServiceFile { path: boot.clone(), mode: 0o755, text }];
    files.push(ServiceFile {
        path: layout.path("/etc/cron.d/raptor"),
        mode: 0o644,
        text: format!("@reboot root {}\n", quote(&boot)),
    });
    let paths: Vec<String> = files.iter().map(|file| quote(&file.path)).collect();
    let stop = "\"$program\" --home \"$home\" agent stop >/dev/null 2>&1 </dev/null 8>&-";
    Service {
        start: format!("{stop}\n{} >/dev/null 2>&1 </dev/null 8>&-", quote(&boot)),
        stop: stop.to_owned(),
        remove: format!("{program} --home {home} agent stop || true; rm -f {}", paths.join(" ")),
        files,
    }
}
