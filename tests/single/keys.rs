//! `kmsfs key`, on keys of every kind.

use serde_json::Value;

use crate::place::Place;

fn described(place: &Place, key: &str) -> Value {
    serde_json::from_str(&place.ok(&["key", "describe", key, "--json"])).unwrap()
}

#[test]
fn every_kind_and_use() {
    Place::both().iter().for_each(every_kind_and_use_on);
}

fn every_kind_and_use_on(place: &Place) {
    for (spec, usage) in [
        ("Aliyun_AES_256", "ENCRYPT/DECRYPT"),
        ("RSA_2048", "ENCRYPT/DECRYPT"),
        ("RSA_2048", "SIGN/VERIFY"),
        ("EC_P256", "SIGN/VERIFY"),
        ("EC_P256K", "SIGN/VERIFY"),
    ] {
        let said = place.ok(&[
            "key",
            "create",
            "--spec",
            spec,
            "--usage",
            usage,
            "--description",
            "why",
        ]);
        let id = said.trim_end();
        assert!(
            said.ends_with('\n') && !id.contains(char::is_whitespace),
            "the id alone: {said:?}"
        );
        let key = described(place, id);
        assert_eq!(
            (&key["spec"], &key["usage"], &key["description"]),
            (&spec.into(), &usage.into(), &"why".into())
        );
        assert_eq!(key["versions"].as_array().unwrap().len(), 1);
    }
    let listed: Value = serde_json::from_str(&place.ok(&["key", "list", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 6);
    assert_eq!(listed[0]["aliases"][0], "alias/Apollo/WorkKey");
    assert!(place.ok(&["key", "list"]).contains("EC_P256K"));
    place.fails(&["key", "create", "--spec", "RSA_1024"], 2);
    place.fails(&["key", "create", "--usage", "sign"], 2);
    place.fails(
        &["key", "create", "--spec", "EC_P256", "--usage", "ENCRYPT/DECRYPT"],
        15,
    );
    // A key that signs seals nothing.
    place.write("a", "text");
    let id = listed[4]["id"].as_str().unwrap();
    place.fails(&["seal", "a", "--key-id", id], 15);
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn rotation_by_hand_and_by_itself() {
    Place::both().iter().for_each(rotation_by_hand_and_by_itself_on);
}

fn rotation_by_hand_and_by_itself_on(place: &Place) {
    let key = "alias/Apollo/WorkKey";
    place.write("a", "text");
    place.ok(&["seal", "a", "--key-id", key]);
    let before = described(place, key);
    let version = place.ok(&["key", "rotate", key]);
    let after = described(place, key);
    assert_eq!(after["primary_version"], version.trim_end());
    assert_ne!(before["primary_version"], after["primary_version"]);
    assert_eq!(after["versions"].as_array().unwrap().len(), 2);
    // What the older version has wrapped still opens.
    place.ok(&["unseal", "a.sealed", "-o", "b"]);
    assert_eq!(place.ok(&["key", "rotate", key, "--every", "30d"]), "");
    assert_eq!(described(place, key)["rotation"]["interval"], 30 * 86400);
    assert!(place.ok(&["key", "describe", key]).contains("every 30days"));
    place.ok(&["key", "rotate", key, "--never"]);
    assert_eq!(described(place, key)["rotation"]["state"], "Disabled");
    place.fails(&["key", "rotate", key, "--every", "1d"], 15);
    place.fails(&["key", "rotate", key, "--every", "soon"], 2);
    let id = place.ok(&["key", "create", "--rotation", "1w", "--alias", "alias/weekly"]);
    assert_eq!(described(place, id.trim_end())["rotation"]["interval"], 7 * 86400);
}

#[test]
fn a_name_that_is_taken_leaves_no_nameless_key() {
    Place::both()
        .iter()
        .for_each(a_name_that_is_taken_leaves_no_nameless_key_on);
}

fn a_name_that_is_taken_leaves_no_nameless_key_on(place: &Place) {
    place.fails(&["key", "create", "--alias", "alias/Apollo/WorkKey"], 15);
    for name in [
        "Apollo",
        "alias/",
        "alias/acs/ecs",
        "alias/a b",
        "alias/\u{e9}",
        &format!("alias/{}", "a".repeat(250)),
    ] {
        place.fails(&["key", "create", "--alias", name], 2);
    }
    let listed: Value = serde_json::from_str(&place.ok(&["key", "list", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn states_by_alias() {
    Place::both().iter().for_each(states_by_alias_on);
}

fn states_by_alias_on(place: &Place) {
    let key = "alias/Apollo/WorkKey";
    let state = || described(place, key)["state"].as_str().unwrap().to_owned();
    for (words, after) in [
        (&["disable", key][..], "Disabled"),
        (&["disable", key], "Disabled"),
        (&["enable", key], "Enabled"),
        (&["schedule-deletion", key, "--days", "7"], "PendingDeletion"),
        (&["cancel-deletion", key], "Enabled"),
    ] {
        assert_eq!(place.ok(&[&["key"], words].concat()), "");
        assert_eq!(state(), after, "{words:?}");
    }
    place.fails(&["key", "cancel-deletion", key], 15);
    place.ok(&["key", "schedule-deletion", key]);
    assert!(described(place, key)["delete_date"].as_str().unwrap().starts_with("20"));
    place.fails(&["key", "enable", key], 15);
    place.fails(&["key", "schedule-deletion", key, "--days", "6"], 2);
    // An alias is moved, and taken away; its key stays.
    let first = described(place, key)["id"].as_str().unwrap().to_owned();
    let second = place.ok(&["key", "create"]).trim_end().to_owned();
    place.ok(&["key", "alias", key, &second]);
    assert_eq!(described(place, key)["id"], second.as_str());
    assert!(described(place, &first)["aliases"].as_array().unwrap().is_empty());
    place.ok(&["key", "alias", key, "--delete"]);
    place.fails(&["key", "describe", key], 13);
    assert_eq!(described(place, &second)["state"], "Enabled");
}
