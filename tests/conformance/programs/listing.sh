#!/usr/bin/env bash
# A directory of many entries, listed with telldir(3) and seekdir(3) while entries come and go.
#   LISTING_ENTRIES=100000
set -euo pipefail
python3 - "${LISTING_ENTRIES:-100000}" <<'P'
import ctypes, os, random, signal, sys

class Entry(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_uint64), ('off', ctypes.c_int64), ('len', ctypes.c_uint16), ('type', ctypes.c_uint8),
                ('name', ctypes.c_char * 256)]

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype, libc.readdir.restype, libc.telldir.restype = ctypes.c_void_p, ctypes.POINTER(Entry), ctypes.c_long

class Listing:
    def __init__(self, path):
        self.dir = ctypes.c_void_p(libc.opendir(path.encode()))
    def next(self):
        entry = libc.readdir(self.dir)
        return entry.contents.name.decode() if entry else None
    def rest(self):
        return list(iter(self.next, None))
    def tell(self):
        return libc.telldir(self.dir)
    def seek(self, place):
        libc.seekdir(self.dir, ctypes.c_long(place))
    def rewind(self):
        libc.rewinddir(self.dir)

def make(name):
    os.mknod(f'many/{name}')

count = int(sys.argv[1])
os.mkdir('many')
names = [f'{n:06}' for n in range(count)]
for name in names:
    make(name)

# Somebody else makes and removes entries all the time.
stranger = os.fork()
if stranger == 0:
    libc.prctl(1, signal.SIGKILL)  # With the listing's end, also one that fails.
    while True:
        for n in range(100):
            make(f'strange-{n}')
        for n in range(100):
            os.unlink(f'many/strange-{n}')

def ours(listed):
    return [name for name in listed if not name.startswith('strange-')]

listing = Listing('many')
begun, places = [], []
for _ in range(count // 4):
    begun.append(listing.next())
    places.append(listing.tell())
gone = set(names[::3])
for name in gone:
    os.unlink(f'many/{name}')
    make(f'new-{name}')
rest = listing.rest()

listed = begun + rest
assert len(set(listed)) == len(listed), 'an entry came twice'
kept = set(names) - gone
assert kept <= set(listed), 'an entry was passed over'

# From a place that was told, what is still there comes in the same order.
def still(listed):
    return [name for name in listed if name in kept]

for at in random.sample(range(count // 4 - 100), 500):
    listing.seek(places[at])
    seen = still(listing.next() for _ in range(10))
    assert seen == still(begun[at + 1:at + 100])[:len(seen)], f'others come after {begun[at]}'
listing.seek(places[-1])
assert still(listing.rest()) == still(rest)

os.kill(stranger, signal.SIGKILL)
os.waitpid(stranger, 0)
listing.rewind()
now = ours(listing.rest())
assert len(now) == count + 2, len(now)
assert set(now) == kept | {f'new-{name}' for name in gone} | {'.', '..'}
P
rm -rf many
