"""What every client must be able to do, each function one group of actions with its error cases."""

import base64
import hashlib
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from clients import Refused

CONTEXT = {"Purpose": "test ~*+", "app": "阿波罗"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def refused(client, code, status, action, **parameters):
    try:
        answer = client.call(action, **parameters)
    except Refused as error:
        assert (error.code, error.status) == (code, status), f"{action}: {code} {status} expected: {error}"
        assert len(error.request_id) == 36, error.request_id
        return error
    raise AssertionError(f"{action} was to be refused with {code}: {answer}")


def new_key(client, **parameters):
    return client.call("CreateKey", **parameters)["KeyMetadata"]["KeyId"]


def state(client, key):
    return client.call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"]


def keys(client):
    made = client.call("CreateKey", Description="a b+c & 阿", Tags='[{"TagKey":"k","TagValue":"v w"}]')["KeyMetadata"]
    key = made["KeyId"]
    assert made["Arn"] == f"acs:kms:cn-hangzhou:{made['Creator']}:key/{key}", made
    assert (made["KeyState"], made["KeySpec"], made["KeyUsage"]) == ("Enabled", "Aliyun_AES_256", "ENCRYPT/DECRYPT")
    described = client.call("DescribeKey", KeyId=made["Arn"])["KeyMetadata"]
    assert described["Description"] == "a b+c & 阿" and described["DeletionProtection"] == "Disabled", described
    assert described["PrimaryKeyVersion"] == made["PrimaryKeyVersion"]

    client.call("UpdateKeyDescription", KeyId=key, Description="other")
    assert client.call("DescribeKey", KeyId=key)["KeyMetadata"]["Description"] == "other"

    listed, page = [], 1
    while True:
        answer = client.call("ListKeys", PageNumber=page, PageSize=2)
        listed += answer["Keys"]["Key"]
        if len(listed) >= int(answer["TotalCount"]):
            break
        page += 1
    assert {"KeyId": key, "KeyArn": made["Arn"]} in listed

    client.call("TagResource", KeyId=key, Tags='[{"TagKey":"k2","TagValue":""},{"TagKey":"k","TagValue":"new"}]')
    tags = client.call("ListResourceTags", KeyId=key)["Tags"]["Tag"]
    assert [(tag["TagKey"], tag["TagValue"]) for tag in tags] == [("k", "new"), ("k2", "")], tags
    client.call("UntagResource", KeyId=key, TagKeys='["k", "k2"]')
    assert client.call("ListResourceTags", KeyId=key)["Tags"]["Tag"] == []
    refused(client, "InvalidParameter", 400, "TagResource", KeyId=key, Tags='[{"TagKey":"acs:x","TagValue":"v"}]')

    refused(client, "Forbidden.KeyNotFound", 404, "DescribeKey", KeyId=UNKNOWN)
    other_region = made["Arn"].replace("cn-hangzhou", "cn-beijing")
    refused(client, "Forbidden.KeyNotFound", 404, "DescribeKey", KeyId=other_region)
    refused(client, "InvalidParameter", 400, "CreateKey", KeySpec="Aliyun_AES_512")
    refused(client, "InvalidParameter", 400, "ListKeys", PageSize=1000)
    refused(client, "MissingParameter", 400, "DescribeKey")


def aliases(client):
    first, second = new_key(client), new_key(client)
    alias = f"alias/sdk-check/{os.urandom(6).hex()}"
    client.call("CreateAlias", AliasName=alias, KeyId=first)
    refused(client, "AliasAlreadyExists", 400, "CreateAlias", AliasName=alias, KeyId=second)
    of_first = client.call("ListAliasesByKeyId", KeyId=first)["Aliases"]["Alias"]
    assert [item["AliasName"] for item in of_first] == [alias] and of_first[0]["AliasArn"].endswith(alias), of_first
    assert client.call("DescribeKey", KeyId=alias)["KeyMetadata"]["KeyId"] == first
    client.call("UpdateAlias", AliasName=alias, KeyId=second)
    assert client.call("Encrypt", KeyId=alias, Plaintext="x")["KeyId"] == second
    every = client.call("ListAliases", PageSize=100)["Aliases"]["Alias"]
    assert [item["KeyId"] for item in every if item["AliasName"] == alias] == [second]
    refused(client, "Unsupported.Alias", 400, "DisableKey", KeyId=alias)
    client.call("DeleteAlias", AliasName=alias)
    for action in ["DeleteAlias", "UpdateAlias"]:
        more = {"KeyId": first} if action == "UpdateAlias" else {}
        refused(client, "Forbidden.AliasNotFound", 404, action, AliasName=alias, **more)
    refused(client, "Forbidden.AliasNotFound", 404, "Encrypt", KeyId=alias, Plaintext="x")
    for bad in ["sdk-check", "alias/", "alias/acs/ecs", "alias/a b", "alias/" + "a" * 250]:
        refused(client, "InvalidParameter", 400, "CreateAlias", AliasName=bad, KeyId=first)


def symmetric(client):
    key, other = new_key(client), new_key(client)
    pem = "-----BEGIN PRIVATE KEY-----\nMII+/=\n-----END PRIVATE KEY-----\n"
    sealed = client.call("Encrypt", KeyId=key, Plaintext=pem, EncryptionContext=CONTEXT)
    blob = sealed["CiphertextBlob"]
    assert sealed["KeyId"] == key
    assert base64.b64decode(blob)[:36].decode() == sealed["KeyVersionId"]
    turned = dict(reversed(CONTEXT.items()))
    # As a file of the guide brings it, with a line's end.
    opened = client.call("Decrypt", CiphertextBlob=blob + "\n", EncryptionContext=turned)
    assert (opened["Plaintext"], opened["KeyId"]) == (pem, key), opened
    assert opened["KeyVersionId"] == sealed["KeyVersionId"]

    refused(client, "InvalidParameter", 400, "Decrypt", CiphertextBlob=blob)
    refused(client, "InvalidParameter", 400, "Decrypt", CiphertextBlob=blob, EncryptionContext={"app": "阿波罗"})
    raw = base64.b64decode(blob)
    for damaged in [raw[:-1], raw[:-1] + bytes([raw[-1] ^ 1]), raw[:48], b"x"]:
        text = base64.b64encode(damaged).decode()
        refused(client, "InvalidParameter", 400, "Decrypt", CiphertextBlob=text, EncryptionContext=CONTEXT)
    refused(client, "InvalidParameter", 400, "Decrypt", CiphertextBlob="no base64!")
    foreign = base64.b64encode(UNKNOWN.encode() + raw[36:]).decode()
    refused(client, "Forbidden.KeyNotFound", 404, "Decrypt", CiphertextBlob=foreign, EncryptionContext=CONTEXT)

    most = "+" * 6144
    full = client.call("Encrypt", KeyId=key, Plaintext=most)["CiphertextBlob"]
    assert client.call("Decrypt", CiphertextBlob=full)["Plaintext"] == most
    # As long as a request can be; in the URL it takes 90 KB.
    wide = {"a": "阿" * (8192 - len('{"a": ""}'))}
    full = client.call("Encrypt", KeyId=key, Plaintext=most, EncryptionContext=wide)["CiphertextBlob"]
    assert client.call("Decrypt", CiphertextBlob=full, EncryptionContext=wide)["Plaintext"] == most
    refused(client, "InvalidParameter", 400, "Encrypt", KeyId=key, Plaintext=most + "+")
    refused(client, "MissingParameter", 400, "Encrypt", KeyId=key)

    for parameters, length in [({}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 1024}, 1024)]:
        made = client.call("GenerateDataKey", KeyId=key, EncryptionContext=CONTEXT, **parameters)
        assert len(base64.b64decode(made["Plaintext"])) == length
        opened = client.call("Decrypt", CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
        assert opened["Plaintext"] == made["Plaintext"]
    refused(client, "InvalidParameter", 400, "GenerateDataKey", KeyId=key, NumberOfBytes=1025)
    made = client.call("GenerateDataKeyWithoutPlaintext", KeyId=key, NumberOfBytes=20)
    assert "Plaintext" not in made
    wrapped = made["CiphertextBlob"]
    plain = client.call("Decrypt", CiphertextBlob=wrapped)["Plaintext"]
    assert len(base64.b64decode(plain)) == 20

    again = client.call(
        "ReEncrypt", CiphertextBlob=wrapped, DestinationKeyId=other, DestinationEncryptionContext=CONTEXT
    )
    opened = client.call("Decrypt", CiphertextBlob=again["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyId"]) == (plain, other)
    wrong = {"SourceEncryptionContext": {"a": "b"}, "DestinationKeyId": other}
    refused(client, "InvalidParameter", 400, "ReEncrypt", CiphertextBlob=wrapped, **wrong)


def states(client):
    key = new_key(client)
    blob = client.call("Encrypt", KeyId=key, Plaintext="x")["CiphertextBlob"]

    def crypto(code):
        refused(client, code, 409, "Encrypt", KeyId=key, Plaintext="x")
        refused(client, code, 409, "Decrypt", CiphertextBlob=blob)
        refused(client, code, 409, "GenerateDataKey", KeyId=key)
        refused(client, code, 409, "GenerateDataKeyWithoutPlaintext", KeyId=key)
        refused(client, code, 409, "ReEncrypt", CiphertextBlob=blob, DestinationKeyId=key)
        refused(client, code, 409, "CreateKeyVersion", KeyId=key)

    client.call("DisableKey", KeyId=key)
    client.call("DisableKey", KeyId=key)
    assert state(client, key) == "Disabled"
    crypto("Rejected.Disabled")
    refused(client, "Rejected.StateModifiedFailed", 409, "CancelKeyDeletion", KeyId=key)
    client.call("EnableKey", KeyId=key)
    assert client.call("Decrypt", CiphertextBlob=blob)["Plaintext"] == "x"

    def protect(on):
        arn = client.call("DescribeKey", KeyId=key)["KeyMetadata"]["Arn"]
        client.call("SetDeletionProtection", ProtectedResourceArn=arn, EnableDeletionProtection=on)
        expected = "Enabled" if on else "Disabled"
        assert client.call("DescribeKey", KeyId=key)["KeyMetadata"]["DeletionProtection"] == expected

    protect(True)
    schedule = {"KeyId": key, "PendingWindowInDays": 7}
    refused(client, "Rejected.StateModifiedFailed", 409, "ScheduleKeyDeletion", **schedule)
    protect(False)
    refused(client, "InvalidParameter", 400, "ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=6)
    client.call("ScheduleKeyDeletion", **schedule)
    described = client.call("DescribeKey", KeyId=key)["KeyMetadata"]
    assert described["KeyState"] == "PendingDeletion" and described["DeleteDate"].endswith("Z"), described
    crypto("Rejected.PendingDeletion")
    refused(client, "Rejected.StateModifiedFailed", 409, "EnableKey", KeyId=key)
    refused(client, "Rejected.StateModifiedFailed", 409, "ScheduleKeyDeletion", **schedule)
    refused(client, "Rejected.PendingDeletion", 409, "UpdateKeyDescription", KeyId=key, Description="x")
    refused(client, "Rejected.StateModifiedFailed", 409, "CreateAlias", AliasName="alias/late", KeyId=key)
    client.call("CancelKeyDeletion", KeyId=key)
    described = client.call("DescribeKey", KeyId=key)["KeyMetadata"]
    assert (described["KeyState"], described["DeleteDate"]) == ("Enabled", ""), described


def versions(client):
    key = new_key(client)
    old = client.call("Encrypt", KeyId=key, Plaintext="x")
    made = client.call("CreateKeyVersion", KeyId=key)["KeyVersion"]
    listed = client.call("ListKeyVersions", KeyId=key)["KeyVersions"]["KeyVersion"]
    assert [item["KeyVersionId"] for item in listed] == [made["KeyVersionId"], old["KeyVersionId"]], listed
    assert client.call("DescribeKeyVersion", KeyId=key, KeyVersionId=made["KeyVersionId"])["KeyVersion"] == made
    refused(client, "Forbidden.KeyVersionNotFound", 404, "DescribeKeyVersion", KeyId=key, KeyVersionId=UNKNOWN)
    assert client.call("Encrypt", KeyId=key, Plaintext="x")["KeyVersionId"] == made["KeyVersionId"]
    assert client.call("Decrypt", CiphertextBlob=old["CiphertextBlob"])["KeyVersionId"] == old["KeyVersionId"]

    client.call("UpdateRotationPolicy", KeyId=key, EnableAutomaticRotation=True, RotationInterval="30d")
    described = client.call("DescribeKey", KeyId=key)["KeyMetadata"]
    assert (described["AutomaticRotation"], described["RotationInterval"]) == ("Enabled", "2592000s"), described
    client.call("DisableKey", KeyId=key)
    assert client.call("DescribeKey", KeyId=key)["KeyMetadata"]["AutomaticRotation"] == "Suspended"
    client.call("EnableKey", KeyId=key)
    client.call("UpdateRotationPolicy", KeyId=key, EnableAutomaticRotation=False)
    assert client.call("DescribeKey", KeyId=key)["KeyMetadata"]["AutomaticRotation"] == "Disabled"
    short = {"EnableAutomaticRotation": True, "RotationInterval": "6d"}
    refused(client, "InvalidParameter", 400, "UpdateRotationPolicy", KeyId=key, **short)
    timed = client.call("CreateKey", EnableAutomaticRotation=True, RotationInterval="604800s")["KeyMetadata"]
    assert timed["NextRotationDate"] > timed["CreationDate"], timed


SHA256 = Prehashed(hashes.SHA256())


def signing(client):
    digest = hashlib.sha256(b"message").digest()
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    kinds = [
        ("RSA_2048", "RSA_PKCS1_SHA_256", lambda key, sig: key.verify(sig, digest, padding.PKCS1v15(), SHA256)),
        ("RSA_2048", "RSA_PSS_SHA_256", lambda key, sig: key.verify(sig, digest, pss, SHA256)),
        ("EC_P256", "ECDSA_SHA_256", lambda key, sig: key.verify(sig, digest, ec.ECDSA(SHA256))),
        ("EC_P256K", "ECDSA_SHA_256", lambda key, sig: key.verify(sig, digest, ec.ECDSA(SHA256))),
    ]
    for spec, algorithm, verify in kinds:
        made = client.call("CreateKey", KeySpec=spec, KeyUsage="SIGN/VERIFY")["KeyMetadata"]
        assert "PrimaryKeyVersion" not in made, made
        key = made["KeyId"]
        version = client.call("ListKeyVersions", KeyId=key)["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]
        which = {"KeyId": key, "KeyVersionId": version, "Algorithm": algorithm}
        text = base64.b64encode(digest).decode()
        value = client.call("AsymmetricSign", Digest=text, **which)["Value"]
        pem = client.call("GetPublicKey", KeyId=key, KeyVersionId=version)["PublicKey"]
        verify(serialization.load_pem_public_key(pem.encode()), base64.b64decode(value))
        good = client.call("AsymmetricVerify", Digest=text, Value=value, **which)["Value"]
        other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
        bad = client.call("AsymmetricVerify", Digest=other, Value=value, **which)["Value"]
        assert (good, bad) in [(True, False), ("true", "false")], (good, bad)
        refused(client, "InvalidParameter", 400, "AsymmetricSign", Digest=text[:20], **which)
        refused(client, "UnsupportedOperation", 400, "Encrypt", KeyId=key, Plaintext="x")
        refused(client, "Forbidden.KeyVersionNotFound", 404, "GetPublicKey", KeyId=key, KeyVersionId=UNKNOWN)
        if spec == "EC_P256":
            client.call("DisableKey", KeyId=key)
            refused(client, "Rejected.Disabled", 409, "AsymmetricSign", Digest=text, **which)


def public_encryption(client):
    key = new_key(client, KeySpec="RSA_2048", KeyUsage="ENCRYPT/DECRYPT")
    version = client.call("ListKeyVersions", KeyId=key)["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]
    pem = client.call("GetPublicKey", KeyId=key, KeyVersionId=version)["PublicKey"]
    public = serialization.load_pem_public_key(pem.encode())
    which = {"KeyId": key, "KeyVersionId": version}
    for algorithm, digest in [("RSAES_OAEP_SHA_256", hashes.SHA256()), ("RSAES_OAEP_SHA_1", hashes.SHA1())]:
        oaep = padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)
        own = base64.b64encode(public.encrypt(b"\x00plain\xff", oaep)).decode()
        plain = base64.b64encode(b"\x00plain\xff").decode()
        theirs = client.call("AsymmetricEncrypt", Plaintext=plain, Algorithm=algorithm, **which)["CiphertextBlob"]
        for blob in [own, theirs]:
            opened = client.call("AsymmetricDecrypt", CiphertextBlob=blob, Algorithm=algorithm, **which)
            assert opened["Plaintext"] == plain
        refused(client, "InvalidParameter", 400, "AsymmetricDecrypt", CiphertextBlob="AAAA", Algorithm=algorithm, **which)
    refused(
        client, "UnsupportedOperation", 400, "AsymmetricSign",
        Digest=base64.b64encode(bytes(32)).decode(), Algorithm="RSA_PKCS1_SHA_256", **which,
    )


OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def imported(client):
    key = new_key(client, Origin="EXTERNAL")
    assert state(client, key) == "PendingImport"
    refused(client, "Rejected.PendingImport", 409, "Encrypt", KeyId=key, Plaintext="x")
    how = {"WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_OAEP_SHA_256"}
    given = client.call("GetParametersForImport", KeyId=key, **how)
    public = serialization.load_der_public_key(base64.b64decode(given["PublicKey"]))
    material = base64.b64encode(public.encrypt(os.urandom(32), OAEP)).decode()
    bring = {"KeyId": key, "EncryptedKeyMaterial": material, "ImportToken": given["ImportToken"]}
    refused(
        client, "InvalidImportToken", 400, "ImportKeyMaterial",
        **{**bring, "ImportToken": "AAAA"}, KeyMaterialExpireUnix=0,
    )
    client.call("ImportKeyMaterial", **bring, KeyMaterialExpireUnix=0)
    blob = client.call("Encrypt", KeyId=key, Plaintext="x")["CiphertextBlob"]
    client.call("DeleteKeyMaterial", KeyId=key)
    assert state(client, key) == "PendingImport"
    refused(client, "Rejected.PendingImport", 409, "Decrypt", CiphertextBlob=blob)
    client.call("ImportKeyMaterial", **bring, KeyMaterialExpireUnix=0)
    assert client.call("Decrypt", CiphertextBlob=blob)["Plaintext"] == "x"
    refused(client, "Unsupported.Origin", 400, "DeleteKeyMaterial", KeyId=new_key(client))


def exported(client):
    key = new_key(client)
    owner = rsa.generate_private_key(65537, 2048)
    spki = owner.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    to = {
        "PublicKeyBlob": base64.b64encode(spki).decode(),
        "WrappingKeySpec": "RSA_2048",
        "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
    }
    made = client.call("GenerateAndExportDataKey", KeyId=key, NumberOfBytes=24, **to)
    plain = owner.decrypt(base64.b64decode(made["ExportedDataKey"]), OAEP)
    assert base64.b64decode(client.call("Decrypt", CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == plain
    again = client.call("ExportDataKey", CiphertextBlob=made["CiphertextBlob"], **to)
    assert owner.decrypt(base64.b64decode(again["ExportedDataKey"]), OAEP) == plain


GROUPS = [keys, aliases, symmetric, states, versions, signing, public_encryption, imported, exported]
