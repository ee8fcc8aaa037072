//! How the agent starts at boot and after a crash, on each init system. Pure.
//!
//! The unit is not sandboxed, on purpose: `raptor exec` is root's shell on the machine, and every
//! restriction of the unit would bind each command run through it and each task the agent starts
//! (`apt-get install` under `ProtectSystem=strict` fails, for one). What protects is that only
//! members with a signed admission are obeyed at all.

use crate::provision::layout::Layout;
use crate::ssh::quote::quote;

/// What starts services on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// systemd runs.
    Systemd,
    /// OpenRC runs.
    OpenRc,
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
        _ => supervised(layout),
    }
}

/// Every file that any kind of service would have: what a probe looks for.
#[must_use]
pub fn files_of_every_kind(layout: &Layout) -> Vec<String> {
    [systemd(layout), openrc(layout), supervised(layout)]
        .into_iter()
        .flat_map(|service| service.files)
        .map(|file| file.path)
        .collect()
}

fn systemd(layout: &Layout) -> Service {
    let text = format!(
        "[Unit]\n\
         Description=raptor agent\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={} --home {} agent run\n\
         # Not after an end that was asked for, nor where a new start would not help: put out of\n\
         # the cluster, or another agent runs.\n\
         Restart=on-failure\n\
         RestartPreventExitStatus=78\n\
         RestartSec=1\n\
         # Tasks outlive the agent: only the agent itself is stopped.\n\
         KillMode=process\n\
         LimitNOFILE=65536\n\
         # No sandbox: it would bind every command and task that the agent runs as root.\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        layout.program(),
        layout.home()
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

fn openrc(layout: &Layout) -> Service {
    let text = format!(
        "#!/sbin/openrc-run\n\
         name=\"raptor agent\"\n\
         supervisor=supervise-daemon\n\
         command={}\n\
         command_args=\"--home {} agent run\"\n\
         respawn_delay=1\n\
         respawn_max=0\n\
         \n\
         depend() {{\n\
         \tneed localmount\n\
         \tafter net\n\
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

fn supervised(layout: &Layout) -> Service {
    let boot = format!("{}/boot", layout.library());
    let (program, home) = (quote(&layout.program()), quote(&layout.home()));
    let log = quote(&format!("{}/agent/agent.log", layout.home()));
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
         \"$@\" {program} --home {home} agent supervise </dev/null >>\"$log\" 2>&1 &\n"
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
