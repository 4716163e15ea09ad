//! Bytes from anybody: every request gets an answer, none gets in without the secret, nothing panics.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;

use super::scene::Scene;
use crate::kms::emulator::Received;
use crate::kms::signature::Headers;

static SCENE: LazyLock<Scene> = LazyLock::new(Scene::simple);

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,20}",
        "\\PC{0,8}",
        Just("ACS3-HMAC-SHA256 Credential=testid,SignedHeaders=host,Signature=00".to_owned()),
        Just("ACS4-HMAC-SHA256 Credential=testid/20261124,SignedHeaders=;;,Signature=".to_owned()),
        Just("Encrypt".to_owned()),
        Just("testid".to_owned()),
        Just("2016-01-20".to_owned()),
        Just("2026-11-24T00:00:00Z".to_owned()),
        Just("application/x-www-form-urlencoded".to_owned()),
    ]
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z-]{1,12}",
        Just("authorization".to_owned()),
        Just("host".to_owned()),
        Just("content-type".to_owned()),
        "x-acs-(action|version|date|signature-nonce|content-sha256|security-token)",
    ]
}

fn parameter() -> impl Strategy<Value = String> {
    let known = "(Action|AccessKeyId|Signature|SignatureMethod|SignatureVersion|Timestamp|Version|Format|KeyId)";
    (prop_oneof![known, "[ -~]{0,8}"], word()).prop_map(|(name, value)| format!("{name}={value}"))
}

proptest! {
    #[test]
    fn anything_is_answered(
        method in "(GET|POST|PUT|[A-Z]{1,8})",
        query in vec(parameter(), 0..12),
        headers in vec((header(), word()), 0..12),
        body in vec(any::<u8>(), 0..200),
    ) {
        let headers: Headers = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = SCENE.emulator.answer(&Received::new(&method, &query.join("&"), headers, &body));
        prop_assert!((400..=404).contains(&answer.status), "{}", answer.body);
        prop_assert!(answer.body.contains(&answer.request_id));
    }

    /// Signed as it should be, with arguments that are not.
    #[test]
    fn any_arguments_of_any_action(
        action in prop::sample::select(vec![
            "CreateKey", "DescribeKey", "ListKeys", "CreateAlias", "UpdateAlias", "DeleteAlias", "ListAliases",
            "UpdateRotationPolicy", "TagResource", "UntagResource", "Encrypt", "Decrypt", "GenerateDataKey",
            "ReEncrypt", "AsymmetricSign", "AsymmetricVerify", "AsymmetricDecrypt", "GetPublicKey",
            "SetDeletionProtection", "ListKeyVersions", "DescribeKeyVersion", "ImportKeyMaterial", "ExportDataKey",
        ]),
        arguments in vec((prop::sample::select(vec![
            "KeyId", "AliasName", "Plaintext", "CiphertextBlob", "EncryptionContext", "Tags", "TagKeys", "Filters",
            "PageNumber", "PageSize", "RotationInterval", "EnableAutomaticRotation", "NumberOfBytes", "Digest",
            "KeyVersionId", "Algorithm", "Value", "DestinationKeyId", "ProtectedResourceArn", "KeySpec", "DryRun",
            "ImportToken", "PublicKeyBlob",
        ]), prop_oneof![
            Just("alias/Apollo/WorkKey".to_owned()), Just("acs:kms:".to_owned()), Just("true".to_owned()),
            "[0-9]{0,12}[dhms]?", "[A-Za-z0-9+/=]{0,120}", "\\PC{0,10}", "[\\[\\]{}\":,a]{0,12}",
        ]), 0..8),
    ) {
        let arguments: Vec<(&str, &str)> = arguments.iter().map(|(name, value)| (*name, &**value)).collect();
        let (status, answer) = SCENE.call(action, &arguments);
        prop_assert!(status == 200 || (400..410).contains(&status), "{status} {answer}");
    }
}
