//! A back-end of the simulation: machines with tags, slow answers, and requests that fail for the
//! caller and come through all the same.

use std::collections::BTreeMap;

use raptor::model::machine::IntentId;
use raptor::model::name::Name;

/// A machine at the back-end.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The wish that it carries; none when nobody marked it.
    pub tag: Option<IntentId>,
    pub name: Name,
    pub running: bool,
    /// Which simulated machine it is.
    pub place: usize,
}

/// The back-end.
#[derive(Debug, Default)]
pub struct BackEnd {
    /// By the back-end's own number.
    pub instances: BTreeMap<u64, Instance>,
    made: u64,
    /// Most machines that ever were there at once.
    pub most: usize,
}

impl BackEnd {
    /// The machine of `intent`, when it is there.
    pub fn find(&self, intent: IntentId) -> Option<&Instance> {
        self.instances.values().find(|instance| instance.tag == Some(intent))
    }

    /// Makes the machine of `intent`, unless it is there; whether it was made.
    pub fn create(&mut self, intent: IntentId, name: &Name, tagged: bool, place: usize) -> bool {
        if self.find(intent).is_some() {
            return false;
        }
        self.made += 1;
        let tag = tagged.then_some(intent);
        let instance = Instance { tag, name: name.clone(), running: true, place };
        self.instances.insert(self.made, instance);
        self.most = self.most.max(self.instances.len());
        true
    }

    /// Takes the machine of `intent` away; which simulated machine it was.
    pub fn destroy(&mut self, intent: IntentId) -> Option<usize> {
        let (number, place) = self
            .instances
            .iter()
            .find(|(_, instance)| instance.tag == Some(intent))
            .map(|(number, instance)| (*number, instance.place))?;
        self.instances.remove(&number);
        Some(place)
    }

    /// Lets the simulated machine at `place` stand still.
    pub fn stop(&mut self, place: usize) {
        let mut instances = self.instances.values_mut();
        if let Some(instance) = instances.find(|instance| instance.place == place) {
            instance.running = false;
        }
    }
}
