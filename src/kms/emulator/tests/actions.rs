//! What actions answer, as far as the store does not decide it; the official SDKs go through all of them in
//! `tests/kms_sdk`.

use serde_json::json;

use super::scene::{ALIAS, Scene};

#[test]
fn text_comes_back_as_it_was() {
    let scene = Scene::simple();
    let text = "-----BEGIN PRIVATE KEY-----\n+/= 阿波罗 %20\n";
    let sealed = scene.good("Encrypt", &[("KeyId", ALIAS), ("Plaintext", text)]);
    assert_eq!(sealed["KeyId"], *scene.key);
    // As a file brings it.
    let blob = format!("{}\n", sealed["CiphertextBlob"].as_str().unwrap());
    let opened = scene.good("Decrypt", &[("CiphertextBlob", &blob)]);
    assert_eq!(opened["Plaintext"], text);
    assert_eq!(opened["KeyVersionId"], sealed["KeyVersionId"]);
}

#[test]
fn contexts() {
    let scene = Scene::simple();
    let seal = |context: &str| {
        let arguments = [("KeyId", ALIAS), ("Plaintext", "x"), ("EncryptionContext", context)];
        scene.call("Encrypt", &arguments)
    };
    let sealed = seal(r#"{"a": "1", "b": "2"}"#).1;
    let blob = sealed["CiphertextBlob"].as_str().unwrap();
    let open = |context: &str| scene.call("Decrypt", &[("CiphertextBlob", blob), ("EncryptionContext", context)]);
    assert_eq!(open(r#"{"b":"2","a":"\u0031"}"#).0, 200);
    for wrong in [r#"{"a":"1"}"#, "{}", "", r#"{"a":"2","b":"1"}"#] {
        let (status, answer) = open(wrong);
        assert_eq!((status, &answer["Code"]), (400, &json!("InvalidParameter")), "{wrong}");
    }
    for invalid in [
        r#"{"a":1}"#,
        r#"{"a":null}"#,
        r#"["a"]"#,
        r#"{"a":{"b":"c"}}"#,
        "a",
        r#"{"a":"b""#,
    ] {
        let (status, answer) = seal(invalid);
        assert_eq!(
            (status, &answer["Code"]),
            (400, &json!("InvalidParameter")),
            "{invalid}"
        );
        assert_eq!(
            answer["Message"],
            "The specified parameter \"EncryptionContext\" is not valid."
        );
    }
    let long = |len: usize| format!(r#"{{"a":"{}"}}"#, "阿".repeat(len - 8));
    assert_eq!((seal(&long(8192)).0, seal(&long(8193)).0), (200, 400));
}

#[test]
fn keys_by_every_name() {
    let scene = Scene::simple();
    let described = scene.good("DescribeKey", &[("KeyId", ALIAS)]);
    let arn = described["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    assert_eq!(arn, format!("acs:kms:cn-hangzhou:1540355698840000:key/{}", scene.key));
    for name in [&*scene.key, ALIAS, &arn] {
        scene.good("Encrypt", &[("KeyId", name), ("Plaintext", "x")]);
    }
    for other in [
        arn.replace("hangzhou", "beijing"),
        arn.replace("1540", "1541"),
        arn.replace(":key/", ":alias/"),
    ] {
        let code = scene.refused(404, "Encrypt", &[("KeyId", &other), ("Plaintext", "x")]);
        assert_eq!(code, "Forbidden.KeyNotFound", "{other}");
    }
    assert_eq!(
        scene.refused(404, "DescribeKey", &[("KeyId", "alias/no")]),
        "Forbidden.AliasNotFound"
    );
    assert_eq!(
        scene.refused(400, "DisableKey", &[("KeyId", ALIAS)]),
        "Unsupported.Alias"
    );
    assert_eq!(scene.refused(400, "Encrypt", &[("KeyId", ALIAS)]), "MissingParameter");
}

#[test]
fn pages() {
    let scene = Scene::simple();
    for _ in 0..11 {
        scene.good("CreateKey", &[]);
    }
    let list = |arguments: &[(&str, &str)]| {
        let list = scene.good("ListKeys", arguments);
        let on_page = list["Keys"]["Key"].as_array().unwrap().len();
        (on_page, list["TotalCount"].as_u64().unwrap())
    };
    assert_eq!(list(&[]), (10, 12));
    assert_eq!(list(&[("PageNumber", "2")]), (2, 12));
    assert_eq!(list(&[("PageNumber", "4294967295"), ("PageSize", "100")]), (0, 12));
    for bad in [
        ("PageNumber", "0"),
        ("PageSize", "0"),
        ("PageSize", "102"),
        ("PageNumber", "x"),
        ("PageSize", "-1"),
    ] {
        assert_eq!(scene.refused(400, "ListKeys", &[bad]), "InvalidParameter", "{bad:?}");
    }
    scene.good("DisableKey", &[("KeyId", &scene.key)]);
    assert_eq!(
        list(&[("Filters", r#"[{"Key":"KeyState","Values":["Disabled"]}]"#)]),
        (1, 1)
    );
    let both = r#"[{"Key":"KeyState","Values":["Enabled","Disabled"]},{"Key":"KeySpec","Values":["RSA_2048"]}]"#;
    assert_eq!(list(&[("Filters", both)]), (0, 0));
    assert_eq!(
        scene.refused(400, "ListKeys", &[("Filters", r#"[{"Key":"Shoe"}]"#)]),
        "InvalidParameter"
    );
}

#[test]
fn what_is_not_served_says_so() {
    let scene = Scene::simple();
    let own = [
        ("KeyId", &*scene.key),
        ("WrappingKeySpec", "RSA_2048"),
        ("WrappingAlgorithm", "RSAES_OAEP_SHA_1"),
    ];
    assert_eq!(scene.refused(400, "GetParametersForImport", &own), "Unsupported.Origin");
    assert_eq!(
        scene.refused(400, "CreateKey", &[("ProtectionLevel", "HSM")]),
        "Unsupported.ProtectionLevel"
    );
    let dry = [("KeyId", ALIAS), ("Plaintext", "x"), ("DryRun", "true")];
    assert_eq!(scene.refused(400, "Encrypt", &dry), "UnsupportedOperation");
    assert_eq!(scene.refused(404, "GetSecretValue", &[]), "InvalidAction.NotFound");
}

#[test]
fn permission_can_be_withdrawn() {
    let scene = Scene::simple();
    scene.faults(r#"{"deny": [{"action": "Encrypt", "access_key": "testid"}]}"#);
    let arguments = [("KeyId", &*scene.key), ("Plaintext", "x")];
    let (status, answer) = scene.call("Encrypt", &arguments);
    assert_eq!((status, &answer["Code"]), (403, &json!("Forbidden.NoPermission")));
    let message = answer["Message"].as_str().unwrap();
    assert!(message.contains(&scene.key) && message.ends_with("is forbidden by permission system."));
    scene.good("DescribeKey", &[("KeyId", ALIAS)]);
}

#[test]
fn rotation_intervals() {
    let scene = Scene::simple();
    let key = ("KeyId", &*scene.key);
    let on = ("EnableAutomaticRotation", "true");
    scene.good("UpdateRotationPolicy", &[key, on, ("RotationInterval", "10080m")]);
    let described = scene.good("DescribeKey", &[key]);
    assert_eq!(described["KeyMetadata"]["RotationInterval"], "604800s");
    assert_eq!(described["KeyMetadata"]["AutomaticRotation"], "Enabled");
    for bad in [
        "7",
        "7w",
        "d",
        "-7d",
        "6d",
        "731d",
        "99999999999999999999s",
        "999999999999999999d",
    ] {
        let code = scene.refused(400, "UpdateRotationPolicy", &[key, on, ("RotationInterval", bad)]);
        assert_eq!(code, "InvalidParameter", "{bad}");
    }
    assert_eq!(
        scene.refused(400, "UpdateRotationPolicy", &[key, on]),
        "MissingParameter"
    );
}

#[test]
fn faults_are_counted() {
    let scene = Scene::simple();
    scene.faults(r#"{"errors": {"count": 1, "status": 500}}"#);
    assert_eq!(scene.refused(500, "ListKeys", &[]), "InternalFailure");
    scene.good("ListKeys", &[]);
    scene.refused(404, "NoSuchAction", &[]);
    let counts = serde_json::to_value(scene.emulator.counters.read()).unwrap();
    let expected = json!({
        "calls": {"ListKeys": 2},
        "refusals": {"InternalFailure": 1, "InvalidAction.NotFound": 1},
        "requests": 3,
    });
    assert_eq!(counts, expected);
}
