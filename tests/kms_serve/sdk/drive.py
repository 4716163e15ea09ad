"""Drives the emulator with both official SDKs, in every way in which they sign. Arguments: KMS address, admin address."""

import sys
import time

import actions
import gate
from clients import Current, Older

PLAIN = ("testid", "testsecret", None)
STS = ("STS.testid", "stssecret", "CAIStest+token/==")


def makers(address):
    """Each way to ask: how a client is made from an access key, and the access key."""
    for key in [PLAIN, STS]:
        yield lambda key: Older(address, key), key
        for style in ["V3", "V1", "V4"]:
            yield lambda key, style=style: Current(address, key, style), key
    yield lambda key: Older(address, key, method="GET"), PLAIN
    yield lambda key: Older(address, key, form=True), PLAIN
    yield lambda key: Older(address, key, format="XML"), PLAIN


def main():
    address, admin = sys.argv[1], gate.Admin(sys.argv[2])
    for make, key in makers(address):
        client = make(key)
        begin = time.monotonic()
        for group in actions.GROUPS:
            print(f"{client.name}: {group.__name__}", flush=True)
            group(client)
        print(f"{client.name}: gate", flush=True)
        gate.wrong_secret(make, key)
        gate.unknown_key(make, key)
        gate.tokens(make, key)
        gate.faults(make, key, admin)
        print(f"{client.name}: {time.monotonic() - begin:.1f} s", flush=True)
    gate.wrong_region(address, PLAIN)
    calls = admin.send("GET", "/calls")["calls"]
    # Each that the emulator has.
    assert len(calls) == 36, sorted(calls)
    print(f"{sum(calls.values())} calls of {len(calls)} actions: {', '.join(calls)}")


main()
