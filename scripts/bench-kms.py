#!/usr/bin/env python3
"""Creating and scanning many files whose keys a KMS far away holds: time, and calls to the KMS. As root.

  scripts/bench-kms.py [--files N] [--latency MS] [--program PATH] [--store DIR]

The KMS is `kmsfs kms serve` on this host; each answer takes MS milliseconds longer. Every row is a volume of its own.
"""
import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
# What a row is called, options of its mounts, in which order its files are read.
ROWS = [
    ("300 requests/s, the default", [], "listing"),
    ("1000 requests/s", ["--kms-rate", "1000"], "listing"),
    ("1000 requests/s, read by name", ["--kms-rate", "1000"], "name"),
    ("no limit", ["--kms-rate", "0"], "listing"),
    ("a data key for 1000 files", ["--key-reuse", "1000,1h,1G"], "listing"),
]


class Kms:
    """An emulator, and its counters."""

    def __init__(self, program, place, latency):
        keys = place / "access-keys"
        keys.write_text("bench the-secret\n")
        arguments = [program, "kms", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        arguments += ["--store", place / "emulator", "--access-keys", keys]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        self.admin = self.process.stdout.readline().split()[-1]
        self.ask("PUT", "/faults", json.dumps({"latency_ms": latency}))

    def ask(self, method, path, body=None):
        data = body.encode() if body else None
        request = urllib.request.Request(self.admin + path, method=method, data=data)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def calls(self, action):
        return self.ask("GET", "/calls")["calls"].get(action, 0)


@contextlib.contextmanager
def mounted(run, backing, plain, options):
    run("mount", backing, plain, *options)
    try:
        yield
    finally:
        run("umount", plain)


def row(run, kms, place, row, files):
    name, options, order = row
    backing, plain = place / "backing", place / "plain"
    backing.mkdir()
    plain.mkdir()
    run("init", backing, "--kms", "alibaba", "--region", "cn-hangzhou", "--endpoint", kms.url, "--key-id", "alias/bench")
    options = ["--key-cache", str(2 * files), *options]
    with mounted(run, backing, plain, options):
        before, start = kms.calls("GenerateDataKey"), time.monotonic()
        for number in range(files):
            (plain / f"f{number:06}").write_bytes(b"content\n")
        os.sync()
        created, made = time.monotonic() - start, kms.calls("GenerateDataKey") - before
    with mounted(run, backing, plain, options):
        names = [entry.name for entry in os.scandir(plain)]
        if order == "name":
            names.sort()
        before, start = kms.calls("Decrypt"), time.monotonic()
        for file in names:
            assert (plain / file).read_bytes() == b"content\n", file
        scanned, unwrapped = time.monotonic() - start, kms.calls("Decrypt") - before
    print(f"| {name} | {created:.1f} s | {made} | {scanned:.1f} s | {unwrapped} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--latency", type=int, default=10)
    parser.add_argument("--program", type=Path, default=TOP / "target/release/kmsfs")
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.store) as place:
        place = Path(place)
        kms = Kms(options.program, place, options.latency)
        environment = {
            **os.environ,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": "bench",
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "the-secret",
            "KMSFS_RUNTIME_DIR": str(place / "run"),
        }

        def run(*arguments):
            subprocess.run([options.program, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)

        try:
            run("key", "create", "--kms", "alibaba", "--endpoint", kms.url, "--alias", "alias/bench")
            print(f"{options.files} files, {options.latency} ms for each call\n")
            print("| | creating | calls | scanning cold | calls |\n|---|---|---|---|---|", flush=True)
            for number, each in enumerate(ROWS):
                own = place / str(number)
                own.mkdir()
                row(run, kms, own, each, options.files)
        finally:
            kms.process.terminate()
            kms.process.wait()


if __name__ == "__main__":
    main()
