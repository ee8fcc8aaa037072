//! What a failed run takes back: from what was there before, and what was reached. Pure.

use crate::provision::layout::Layout;
use crate::provision::probe::Probe;
use crate::provision::service::Service;
use crate::provision::steps::Step;
use crate::ssh::quote::quote;

/// How far a run came before it failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reached {
    /// The release whose program this run put there.
    pub release: Option<String>,
    /// Indices of steps whose `apply` was begun.
    pub applied: Vec<usize>,
    /// Whether the script that installs was begun.
    pub installing: bool,
    /// Whether the script that starts the agent was begun.
    pub starting: bool,
}

/// What to take back, in order: a description and its shell text. The log stays: it is what tells
/// why the run failed.
#[must_use]
pub fn undo(
    probe: &Probe,
    reached: &Reached,
    steps: &[Step],
    service: &Service,
    layout: &Layout,
) -> Vec<(String, String)> {
    let mut actions: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, text: String| actions.push((what.to_owned(), text));
    if reached.starting && !probe.service_there {
        add("the service", service.remove.clone());
    }
    for step in reached.applied.iter().rev().filter_map(|index| steps.get(*index)) {
        if let Some(text) = &step.undo {
            add(&format!("step {}", step.title()), text.clone());
        }
    }
    if reached.installing && !probe.home_there {
        add("the agent's home", format!("rm -rf {}", quote(&layout.home())));
    }
    if reached.installing && !probe.command_there {
        add("the command", format!("rm -f {}", quote(&layout.command())));
    }
    let library = quote(&layout.library());
    if reached.release.is_some() || reached.installing {
        if !probe.library_there {
            add("the program", format!("rm -rf {library}"));
            return actions;
        }
        let current = format!("{library}/current");
        match &probe.release {
            Some(before) => add(
                "the release before",
                format!(
                    "ln -sfn {} {current}.new; mv -fT {current}.new {current}",
                    quote(&format!("releases/{before}"))
                ),
            ),
            None => add("the choice of release", format!("rm -f {current}")),
        }
    }
    if let Some(release) =
        reached.release.as_ref().filter(|new| probe.release.as_ref() != Some(*new))
    {
        add("the new release", format!("rm -rf {library}/releases/{}", quote(release)));
    }
    if reached.starting && probe.service_there && probe.agent.is_some() {
        let restart = service.start.replace("must ", "");
        add("the agent before, started anew", format!("changed=yes; {restart}"));
    }
    actions
}
