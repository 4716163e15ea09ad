#!/usr/bin/env python3
"""The rows of the benchmark. Started by bench.sh, which builds kmsfs first.

Rounds are interleaved: round 1 of every file system, then round 2, so that every ratio is of the same machine in the
same minutes. Each workload but the first of a round begins with cold caches and a new mount. Prints the medians, and
their ratios, as Markdown.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

FILE_SYSTEMS = ["plain", "gocryptfs", "securefs", "kmsfs"]


def sh(words, **more):
    """Runs a command, and fails with what it said."""
    more.setdefault("stdin", subprocess.DEVNULL)
    ran = subprocess.run(words, shell=isinstance(words, str), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if ran.returncode:
        raise RuntimeError(f"{words}: exit code {ran.returncode}\n{ran.stdout[-2000:]}")
    return ran.stdout


def is_mounted(path):
    with open("/proc/self/mounts") as mounts:
        return any(line.split()[1] == str(path) for line in mounts)


class FileSystem:
    """One file system over a directory of its own: made, mounted, unmounted."""

    def __init__(self, name, work):
        self.name = name
        self.work = work
        self.backing = work / "store" / name
        self.mountpoint = work / "mnt"
        self.passphrase = work / "passphrase"
        self.process = None
        self.peak_mib = 0

    @property
    def dir(self):
        return self.backing if self.name == "plain" else self.mountpoint

    def make(self):
        self.unmount()
        shutil.rmtree(self.backing, ignore_errors=True)
        self.backing.mkdir(parents=True)
        if self.name == "gocryptfs":
            sh(["gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", self.passphrase, self.backing])
        elif self.name == "securefs":
            sh(["securefs", "create", "--pass", "bench", "--format", "4", "-r", "1", self.backing])
        elif self.name == "kmsfs":
            sh([os.environ["KMSFS"], "init", self.backing])
        self.mount()

    def mount(self):
        if self.name == "plain":
            return
        words = {
            "gocryptfs": ["gocryptfs", "-fg", "-q", "-passfile", self.passphrase, self.backing, self.mountpoint],
            "securefs": ["securefs", "mount", "--pass", "bench", "--log", "/dev/null", self.backing, self.mountpoint],
            "kmsfs": [os.environ.get("KMSFS", ""), "mount", "--foreground", self.backing, self.mountpoint],
        }[self.name]
        log = open(self.work / f"{self.name}.log", "w")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while not is_mounted(self.mountpoint):
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} does not mount: {pathlib.Path(log.name).read_text()[-500:]}")
            time.sleep(0.02)

    def note_memory(self):
        if self.process:
            try:
                status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
                peak = [line for line in status if line.startswith("VmHWM")]
                self.peak_mib = max(self.peak_mib, int(peak[0].split()[1]) // 1024)
            except (OSError, IndexError):
                pass

    def unmount(self):
        if not self.process:
            return
        self.note_memory()
        for _ in range(200):
            if subprocess.run(["umount", self.mountpoint], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.05)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process = None

    def cold(self):
        self.unmount()
        sh("sync; echo 3 > /proc/sys/vm/drop_caches")
        self.mount()

    def destroy(self):
        self.unmount()
        shutil.rmtree(self.backing, ignore_errors=True)


class Bench:
    """The workloads. Each returns a rate, of which more is better, but for `written`, or None where it cannot be told."""

    def __init__(self, options, work):
        self.size = options.size
        self.files = options.files
        self.work = work

    def fio(self, fs, **job):
        job = dict(name="j", directory=fs.dir, filename="f", ioengine="psync", thread=1, size=f"{self.size}M",
                   fallocate="none", group_reporting=1, randrepeat=0, refill_buffers=0) | job
        out = sh(["fio", "--output-format=json"] + [f"--{name}={value}" for name, value in job.items() if value is not None])
        result = json.loads(out[out.index("{"):])["jobs"][0]
        if result["error"]:
            raise RuntimeError(f"fio: error {result['error']}")
        return result

    def tree(self):
        """A source tree: many small files of log-normal size, the same in every run."""
        tree = self.work / "tree"
        if not tree.exists():
            dice = random.Random(7)
            for number in range(self.files):
                folder = tree / f"d{number // 500}" / f"sub{number // 50}"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"file_{number}.txt").write_bytes(dice.randbytes(int(min(65536, dice.lognormvariate(8.3, 1.1)))))
        return tree

    def per_file(self, command):
        start = time.monotonic()
        sh(command)
        return self.files / (time.monotonic() - start)

    def seqwrite(self, fs):
        fs.make()
        return self.fio(fs, rw="write", bs="1M", end_fsync=1)["write"]["bw_bytes"] / 1e6

    def seqread(self, fs):
        fs.cold()
        return self.fio(fs, rw="read", bs="1M")["read"]["bw_bytes"] / 1e6

    def seqread2(self, fs):
        fs.cold()
        half = f"{self.size // 2}M"
        return self.fio(fs, rw="read", bs="1M", numjobs=2, offset_increment=half, io_size=half)["read"]["bw_bytes"] / 1e6

    def randread(self, fs):
        fs.cold()
        return self.fio(fs, rw="randread", bs="4k", io_size="64M", runtime=20)["read"]["iops"]

    def randread4(self, fs):
        fs.cold()
        return self.fio(fs, rw="randread", bs="4k", numjobs=4, io_size="32M", runtime=20)["read"]["iops"]

    def randwrite(self, fs):
        fs.cold()
        return self.fio(fs, rw="randwrite", bs="4k", io_size="64M", end_fsync=1, runtime=30)["write"]["iops"]

    def database(self, fs, **job):
        fs.cold()
        return self.fio(fs, rw="randwrite", bs="8k", fdatasync=1, runtime=15, **job)["write"]

    def eight(self, fs):
        """Eight threads, each in a file of its own, which are there already."""
        job = dict(numjobs=8, filename=None, size="8M")
        if not (fs.dir / "j.0.0").exists():
            self.fio(fs, rw="write", bs="1M", end_fsync=1, **job)
        return job | dict(io_size="2M")

    def dbwrite(self, fs):
        return self.database(fs, io_size="8M")["iops"]

    def dbwrite8(self, fs):
        return self.database(fs, **self.eight(fs))["iops"]

    def written(self, fs, **job):
        """Bytes that the device is given for each byte whose fdatasync was acknowledged, by whomever: use a quiet machine."""
        device = os.stat(self.work).st_dev
        counters = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
        if not counters.exists():
            return None
        sectors = lambda: int(counters.read_text().split()[6])
        sh("sync")
        before = sectors()
        done = self.database(fs, **job or dict(io_size="8M"))
        sh("sync")
        return (sectors() - before) * 512 / done["io_bytes"]

    def written8(self, fs):
        return self.written(fs, **self.eight(fs))

    def create(self, fs):
        tree = self.tree()
        fs.make()
        return self.per_file(f"cp -r {tree} {fs.dir}/tree && sync -f {fs.dir}")

    def stat(self, fs):
        fs.cold()
        return self.per_file(f"find {fs.dir}/tree -printf '%s\\n' | wc -l")

    def readtree(self, fs):
        fs.cold()
        # Not to /dev/null by itself: tar does not read files then.
        rate = self.per_file(f"tar cf - -C {fs.dir} tree | cat > /dev/null")
        sh(f"diff -r {self.tree()} {fs.dir}/tree")
        return rate

    def remove(self, fs):
        fs.cold()
        return self.per_file(f"rm -rf {fs.dir}/tree")


# Name, what it is, unit, and which row leaves behind what it works on.
ROWS = [
    ("seqwrite", "write {size} MiB by 1 MiB, fsync", "MB/s", None),
    ("seqread", "read it", "MB/s", "seqwrite"),
    ("seqread2", "read it, 2 jobs", "MB/s", "seqwrite"),
    ("randread", "random reads of 4 KiB", "IOPS", "seqwrite"),
    ("randread4", "the same, 4 jobs", "IOPS", "seqwrite"),
    ("randwrite", "random writes of 4 KiB, fsync at the end", "IOPS", "seqwrite"),
    ("dbwrite", "random writes of 8 KiB, fdatasync each", "IOPS", "seqwrite"),
    ("dbwrite8", "the same, 8 threads in 8 files", "IOPS", "seqwrite"),
    ("written", "device writes for each of 1 thread; less is better", "kB/kB", "seqwrite"),
    ("written8", "device writes for each of 8 threads; less is better", "kB/kB", "seqwrite"),
    ("create", "copy a tree of {files} small files in", "files/s", None),
    ("stat", "stat them", "files/s", "create"),
    ("readtree", "read them", "files/s", "create"),
    ("remove", "remove them", "files/s", "create"),
]


def figure(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def run_round(bench, fs, wanted, results):
    needed = wanted | {after for name, _, _, after in ROWS if name in wanted and after}
    try:
        for name, _, unit, _ in ROWS:
            if name in needed:
                rate = getattr(bench, name)(fs)
                fs.note_memory()
                if rate is None:
                    continue
                results.setdefault(name, []).append(rate)
                print(f"  {fs.name:10} {name:10} {figure(rate):>12} {unit}", file=sys.stderr, flush=True)
    except (RuntimeError, OSError) as error:
        print(f"  {fs.name:10} FAILED: {error}", file=sys.stderr, flush=True)
        results["failed"] = True
    finally:
        fs.destroy()


def machine():
    cpu = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    name = cpu[0] if cpu else platform.machine()
    return f"{len(cpu) or os.cpu_count()} x {name}, Linux {platform.release()}"


def table(options, names, wanted, results, peaks):
    """The medians as Markdown; in brackets the ratio of kmsfs to that column."""
    store = sh(["stat", "-f", "-c", "%T", options.store]).strip()
    yield f"{datetime.date.today()}, {machine()}, stored on {store}, medians of {options.rounds} rounds, cold caches."
    yield "In brackets: kmsfs divided by that column."
    yield ""
    yield "| workload | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    median = {name: {row: statistics.median(rates) for row, rates in results[name].items() if row != "failed"} for name in names}
    for row, what, unit, _ in ROWS:
        if row not in wanted:
            continue
        cells = []
        for name in names:
            value, ours = median[name].get(row), median.get("kmsfs", {}).get(row)
            ratio = f" ({ours / value:.2f})" if value and ours and name != "kmsfs" else ""
            nothing = "failed" if "failed" in results[name] else "-"
            cells.append(f"{figure(value)}{ratio}" if value else nothing)
        yield f"| {what.format(size=options.size, files=options.files)} ({unit}) | " + " | ".join(cells) + " |"
    yield "| peak memory (MiB) | " + " | ".join(str(peaks[name]) if peaks[name] else "-" for name in names) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="FILE SYSTEM", help=f"of {', '.join(FILE_SYSTEMS)}; default: those installed")
    parser.add_argument("--store", default="/dev/shm", help="where the stored files lie; /dev/shm measures the software, not the disk")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--files", type=int, default=5000, help="small files of the tree")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows, with commas between them")
    parser.add_argument("--json", help="write every figure to this file")
    options = parser.parse_args()
    known = {row[0] for row in ROWS}
    wanted = set(filter(None, options.only.split(","))) or known
    installed = [name for name in FILE_SYSTEMS if name in ("plain", "kmsfs") or shutil.which(name)]
    names = options.names or installed
    for word in (wanted - known) | (set(names) - set(FILE_SYSTEMS)):
        parser.error(f"there is no {word!r}")

    work = pathlib.Path(tempfile.mkdtemp(prefix="kmsfs-bench-", dir=options.store))
    try:
        (work / "mnt").mkdir()
        (work / "passphrase").write_text("bench\n")
        # A key store and sockets of its own: the machine's are left alone.
        os.environ["KMSFS_STATE_DIR"] = str(work / "state")
        os.environ["KMSFS_RUNTIME_DIR"] = str(work / "run")
        bench = Bench(options, work)
        results, peaks = {name: {} for name in names}, dict.fromkeys(names, 0)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            for name in names:
                fs = FileSystem(name, work)
                run_round(bench, fs, wanted, results[name])
                peaks[name] = max(peaks[name], fs.peak_mib)
        print("\n".join(table(options, names, wanted, results, peaks)))
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps({"results": results, "peak_mib": peaks, "machine": machine()}, indent=1))
        return 1 if any("failed" in found for found in results.values()) else 0
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
