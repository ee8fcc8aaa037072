//! Who can do what, looked up once a plan: in a fleet of thousands each of a thousand failed asks.

use std::collections::BTreeMap;

use crate::model::identity::NodeId;
use crate::reconcile::fleet::choose::choose;
use crate::reconcile::fleet::view::FleetView;

/// The members that can act, and those of them that drive each compute type.
pub(super) struct Crew<'v> {
    view: &'v FleetView,
    actors: Vec<NodeId>,
    drivers: BTreeMap<String, Drivers<'v>>,
}

/// Those that drive one compute type, each list in the order of their ids.
#[derive(Default)]
struct Drivers<'v> {
    anywhere: Vec<NodeId>,
    by_scope: BTreeMap<&'v str, Vec<NodeId>>,
    /// Whom a subject was given to: all machines of a scope are asked about under one.
    chosen: BTreeMap<(String, Option<String>, Option<NodeId>), Option<NodeId>>,
}

impl<'v> Crew<'v> {
    pub(super) fn new(view: &'v FleetView) -> Self {
        let actors = view.actors(|_, _| true).collect();
        Self { view, actors, drivers: BTreeMap::new() }
    }

    /// The members that can act.
    pub(super) fn actors(&self) -> &[NodeId] {
        &self.actors
    }

    /// Those that drive `compute_type`, in `scope` when it is known.
    pub(super) fn drivers(&mut self, compute_type: &str, scope: Option<&str>) -> &[NodeId] {
        self.of(compute_type).of(scope)
    }

    /// Who of the drivers but `except` deals with `subject`: one of the staying if there is one.
    pub(super) fn chosen_driver(
        &mut self,
        subject: &str,
        (compute_type, scope): (&str, Option<&str>),
        except: Option<NodeId>,
        stays: impl Fn(&NodeId) -> bool,
    ) -> Option<NodeId> {
        let drivers = self.of(compute_type);
        let able = drivers.of(scope);
        // Who is none of them changes nothing: the dead, mostly, of which each is excepted once.
        let except = except.filter(|node| able.binary_search(node).is_ok());
        let key = (subject.to_owned(), scope.map(str::to_owned), except);
        if let Some(chosen) = drivers.chosen.get(&key) {
            return *chosen;
        }
        let chosen = choose_staying(subject, able, except, stays);
        drivers.chosen.insert(key, chosen);
        chosen
    }

    fn of(&mut self, compute_type: &str) -> &mut Drivers<'v> {
        let (view, actors) = (self.view, &self.actors);
        self.drivers.entry(compute_type.to_owned()).or_insert_with(|| {
            let mut drivers = Drivers::default();
            for node in actors {
                let Some(scope) = view.members.get(node).and_then(|seen| seen.scope(compute_type))
                else {
                    continue;
                };
                drivers.anywhere.push(*node);
                drivers.by_scope.entry(scope).or_default().push(*node);
            }
            drivers
        })
    }
}

impl Drivers<'_> {
    fn of(&self, scope: Option<&str>) -> &[NodeId] {
        match scope {
            None => &self.anywhere,
            Some(scope) => self.by_scope.get(scope).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

/// Who of those that are able, but `except`, deals with `subject`: one that stays, if there is one.
pub(super) fn choose_staying(
    subject: &str,
    able: &[NodeId],
    except: Option<NodeId>,
    stays: impl Fn(&NodeId) -> bool,
) -> Option<NodeId> {
    let able = || able.iter().copied().filter(|node| Some(*node) != except);
    choose(subject, able().filter(stays)).or_else(|| choose(subject, able()))
}
