//! What must hold once the weather is calm.

use std::collections::BTreeSet;

use raptor::model::identity::NodeId;
use raptor::model::machine::IntentId;
use raptor::model::member::Status;

use crate::sim::world::World;

impl World {
    /// Whether everything holds; else what does not.
    pub fn verdict(&mut self) -> Result<(), String> {
        if !self.to_destroy.is_empty() {
            return Err(format!("a person still waits for {:?} to go", self.to_destroy));
        }
        let members = self.agreement()?;
        let records = self.records(&members)?;
        self.secrets_are_kept()?;
        self.back_end_matches(&records)
    }

    /// All agents hold one document and see exactly its members alive; gives those.
    fn agreement(&mut self) -> Result<BTreeSet<NodeId>, String> {
        let running: Vec<usize> =
            (0..self.machines.len()).filter(|who| self.machines[*who].agent.is_some()).collect();
        let first = *running.first().ok_or("nobody is left")?;
        let versions = self.machines[first].agent.as_ref().unwrap().document.versions();
        let mut members = BTreeSet::new();
        for who in &running {
            let me = self.machines[*who].id();
            let agent = self.machines[*who].agent.as_mut().unwrap();
            if agent.document.versions() != versions {
                return Err(format!("{first} and {who} hold different documents"));
            }
            members = agent.records().members.keys().copied().collect();
            for node in members.iter().filter(|node| **node != me) {
                let status = agent.gossip.status(*node);
                if status != Some(Status::Alive) {
                    return Err(format!("{who} sees {} as {status:?}", node.short()));
                }
            }
        }
        let running: BTreeSet<NodeId> =
            running.iter().map(|who| self.machines[*who].id()).collect();
        if running != members {
            return Err(format!("{} run, {} are members", running.len(), members.len()));
        }
        self.nothing_is_lost()?;
        Ok(members)
    }

    /// What any running agent ever had on its disk is in everybody's document.
    fn nothing_is_lost(&mut self) -> Result<(), String> {
        for machine in &self.machines {
            let Some(agent) = &machine.agent else { continue };
            let versions = agent.document.versions();
            for blob in &machine.disk {
                let header = blob.header();
                if versions.next(header.author, header.epoch) <= header.sequence {
                    return Err(format!(
                        "an acknowledged write of {} is lost",
                        header.author.short()
                    ));
                }
            }
        }
        Ok(())
    }

    /// The members are as many as the rule says, each with its machine; gives the machines' wishes.
    fn records(&mut self, members: &BTreeSet<NodeId>) -> Result<BTreeSet<IntentId>, String> {
        let agent = self.machines.iter_mut().find_map(|machine| machine.agent.as_mut()).unwrap();
        let records = agent.records();
        let rule = &records.config["rules"]["default"];
        let bound = |key: &str| usize::try_from(rule[key].as_u64().unwrap()).unwrap();
        let (min, max) = (bound("min"), bound("max"));
        if !(min..=max).contains(&members.len()) {
            return Err(format!("{} members, {min} to {max} are wanted", members.len()));
        }
        let mut intents = BTreeSet::new();
        for (intent, record) in &records.machines {
            if record.upkeep.retire.is_some() || record.upkeep.lease.is_some() {
                return Err(format!("{intent} is still being dealt with"));
            }
            if !record.node.is_some_and(|node| members.contains(&node)) {
                return Err(format!("{intent} has no member"));
            }
            intents.insert(*intent);
        }
        Ok(intents)
    }

    /// The back-end has exactly these machines, and none that a person destroyed.
    fn back_end_matches(&self, intents: &BTreeSet<IntentId>) -> Result<(), String> {
        let agent = self.machines.iter().find_map(|machine| machine.agent.as_ref()).unwrap();
        let versions = agent.document.versions();
        let is_known = |(author, epoch, sequence): &(NodeId, u64, u32)| {
            versions.next(*author, *epoch) > *sequence
        };
        let mut seen = BTreeSet::new();
        for instance in self.back_end.instances.values() {
            let place = instance.place;
            match instance.tag {
                None => return Err(format!("machine {place} is marked by nobody")),
                Some(intent) if self.destroyed_by_person.get(&intent).is_some_and(is_known) => {
                    return Err(format!("{intent} lives, which a person destroyed"));
                }
                Some(intent) if !intents.contains(&intent) => {
                    return Err(format!("machine {place} ({intent}) is an orphan"));
                }
                Some(intent) => drop(seen.insert(intent)),
            }
        }
        if seen == *intents {
            return Ok(());
        }
        let missing: Vec<_> = intents.difference(&seen).collect();
        Err(format!("the back-end has no {missing:?}"))
    }
}
