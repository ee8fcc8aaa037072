//! What becomes of those who were evicted: decision 1, as it works.

use serde_json::json;

use super::testing::{admission, genesis, key, set, sync, unset, write};
use super::*;

#[test]
fn a_late_update_of_the_evicted_counts_alike_for_all_and_the_next_write_undoes_it() {
    let keys = [key(1), key(2), key(3)];
    let genesis = genesis(&keys[0]);
    let [mut evicting, mut thief, mut unaware] =
        [100, 101, 102].map(|epoch| Document::new(genesis.clone(), epoch));
    write(&mut evicting, &keys[0], &keys.each_ref().map(|key| admission(key.node_id())));
    sync(&evicting, &mut thief);
    sync(&evicting, &mut unaware);
    let evicted = format!("members.{}.evicted", keys[1].node_id());
    write(&mut evicting, &keys[0], &[set(&evicted, true)]);

    // One who has not heard takes the late update in, and builds on it.
    write(&mut thief, &keys[1], &[set("config.ours", json!({"x": "late"}))]);
    sync(&thief, &mut unaware);
    write(&mut unaware, &keys[2], &[set("config.ours.y", "honest")]);
    sync(&unaware, &mut evicting);
    sync(&evicting, &mut unaware);
    for document in [&evicting, &unaware] {
        assert_eq!(document.config_layer(), json!({"ours": {"x": "late", "y": "honest"}}));
        assert!(!document.members().contains_key(&keys[1].node_id()), "it is back");
    }
    assert_eq!(evicting.versions(), unaware.versions());

    // Whoever sees it takes it back, and what is offered again changes nothing.
    write(&mut evicting, &keys[0], &[unset("config.ours.x")]);
    sync(&evicting, &mut unaware);
    sync(&thief, &mut unaware);
    for document in [&evicting, &unaware] {
        assert_eq!(document.config_layer(), json!({"ours": {"y": "honest"}}));
    }
}
