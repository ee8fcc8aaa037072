//! Machines that a back-end has and of which a member has not heard.

use serde_json::Value;

use super::*;
use crate::reconcile::fleet::plan::Act;
use crate::reconcile::fleet::write::Edits;

#[test]
fn who_takes_up_a_machine_overwrites_nothing_that_others_know_of_it() {
    let story = Story::of(1);
    let (name, compute_type) = ("local-9".parse().unwrap(), "local".to_owned());
    let adopt = Act::Adopt { intent: intent(9), name, compute_type };
    let edits = Edits::of(&adopt, "nobody knows it", &story.0).unwrap().edits;
    let [edit] = &edits[..] else { panic!("one record: {edits:?}") };
    let record = edit.value.as_ref().and_then(Value::as_object).unwrap();
    assert!(record.contains_key("lease"), "{record:?}");
    for unknown in ["node", "machine", "access"] {
        assert!(!record.contains_key(unknown), "{unknown} is another's to say: {record:?}");
    }
    assert!(record.values().all(|value| !value.is_null()), "{record:?}");
}
