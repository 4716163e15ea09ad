"""Who is let in, and what the SDKs make of faults: throttling, errors, broken connections, stale credentials."""

import json
import urllib.request

from actions import new_key, refused
from clients import Current, Older, Refused


class Admin:
    """The emulator's admin endpoint."""

    def __init__(self, address):
        self.address = address

    def send(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", data=data, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def faults(self, **faults):
        self.send("PUT", "/faults", faults)


def wrong_secret(make, key):
    client = make((key[0], "wrong", key[2]))
    # The older SDK renames it when the string to sign in the message is its own.
    renames = isinstance(client, Older) and client.format == "JSON"
    code = "InvalidAccessKeySecret" if renames else "SignatureDoesNotMatch"
    refused(client, code, 400, "ListKeys")


def unknown_key(make, key):
    refused(make(("nobody", key[1], key[2])), "InvalidAccessKeyId.NotFound", 404, "ListKeys")


def tokens(make, key):
    if key[2] is None:
        refused(make((key[0], key[1], "t")), "InvalidSecurityToken.MismatchWithAccessKey", 400, "ListKeys")
    else:
        refused(make((key[0], key[1], None)), "MissingSecurityToken", 400, "ListKeys")
        refused(make((key[0], key[1], "t")), "InvalidSecurityToken.Malformed", 400, "ListKeys")


def faults(make, key, admin):
    client = make(key)
    master = new_key(client)
    try:
        admin.faults(expired=[key[0]])
        stale = "InvalidSecurityToken.Expired" if key[2] else "InvalidAccessKeyId.Inactive"
        refused(client, stale, 400, "ListKeys")
        admin.faults(clock_offset_seconds=1000)
        refused(client, "InvalidTimeStamp.Expired", 400, "ListKeys")
        admin.faults(clock_offset_seconds=-800)
        client.call("ListKeys")
        admin.faults(errors={"count": 1, "status": 503}, actions=["Encrypt"])
        client.call("ListKeys")
        refused(client, "ServiceUnavailableTemporary", 503, "Encrypt", KeyId=master, Plaintext="x")
        client.call("Encrypt", KeyId=master, Plaintext="x")
        admin.faults(errors={"count": 1, "status": 500})
        refused(client, "InternalFailure", 500, "ListKeys")
        admin.faults(deny=[{"action": "Decrypt"}])
        blob = client.call("Encrypt", KeyId=master, Plaintext="x")["CiphertextBlob"]
        refused(client, "Forbidden.NoPermission", 403, "Decrypt", CiphertextBlob=blob)
        admin.faults(requests_per_second=1)
        codes = []
        for _ in range(4):
            try:
                client.call("ListKeys")
            except Refused as error:
                codes.append((error.code, error.status))
        assert ("Rejected.Throttling", 429) in codes, codes
        for broken in [{"drop": 10}, {"cut": 10}]:
            admin.faults(**broken)
            try:
                answer = client.call("ListKeys")
            except Refused as error:
                raise AssertionError(f"{broken}: an answer where there was to be none: {error}") from error
            except Exception:
                pass
            else:
                raise AssertionError(f"{broken}: {answer}")
    finally:
        admin.faults()


def wrong_region(address, key):
    client = Current(address, key, "V4", region="cn-beijing")
    refused(client, "SignatureDoesNotMatch", 400, "ListKeys")
