//! The calls that are compared, and how they are drawn at random.

use proptest::collection::vec;
use proptest::prelude::*;

/// Files that can be open at a time.
pub const SLOTS: usize = 4;

/// Names that the calls use, so few that they meet each other often.
const PATHS: [&str; 16] = [
    "a",
    "b",
    "c",
    "d",
    "d/a",
    "d/b",
    "d/e",
    "d/e/a",
    "d/e/f",
    "f",
    "f/a",
    "f/d",
    "a/b",
    "d/",
    ".",
    "nul\u{1}\u{ff}\\ \n",
];

/// One call, by somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Who makes it.
    pub by: User,
    /// What is called.
    pub what: What,
}

/// A caller: user and group have the same number. 0 may do everything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct User(pub u32);

/// A path below the directory that is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Name(pub String);

/// A range of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Where it begins.
    pub at: u64,
    /// How long it is.
    pub len: u64,
}

/// What can be called. A `usize` is the slot of an open file.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // Each is the system call of its name.
pub enum What {
    Open {
        slot: usize,
        path: Name,
        flags: u32,
        mode: u32,
    },
    Close {
        slot: usize,
    },
    Read {
        slot: usize,
        range: Range,
    },
    Write {
        slot: usize,
        range: Range,
        seed: u8,
    },
    Append {
        slot: usize,
        len: u64,
        seed: u8,
    },
    Map {
        slot: usize,
        range: Range,
        write: Option<u8>,
    },
    Seek {
        slot: usize,
        at: u64,
        data: bool,
    },
    Sync {
        slot: usize,
        data_only: bool,
    },
    FTruncate {
        slot: usize,
        len: u64,
    },
    Allocate {
        slot: usize,
        mode: u32,
        range: Range,
    },
    Copy {
        from: usize,
        at: u64,
        to: usize,
        range: Range,
    },
    Truncate {
        path: Name,
        len: u64,
    },
    Mkdir {
        path: Name,
        mode: u32,
    },
    Mknod {
        path: Name,
        kind: u32,
        mode: u32,
    },
    Symlink {
        path: Name,
        target: Name,
    },
    Link {
        from: Name,
        to: Name,
        follow: bool,
    },
    LinkOpen {
        slot: usize,
        to: Name,
    },
    Unlink {
        path: Name,
    },
    Rmdir {
        path: Name,
    },
    Rename {
        from: Name,
        to: Name,
        flags: u32,
    },
    Chmod {
        path: Name,
        mode: u32,
    },
    FChmod {
        slot: usize,
        mode: u32,
    },
    Chown {
        path: Name,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Times {
        path: Name,
        seconds: i64,
        nanoseconds: i64,
    },
    Access {
        path: Name,
        how: u32,
    },
    ReadLink {
        path: Name,
    },
    List {
        path: Name,
    },
    SetXattr {
        path: Name,
        name: usize,
        len: usize,
        flags: u32,
    },
    GetXattr {
        path: Name,
        name: usize,
    },
    RemoveXattr {
        path: Name,
        name: usize,
    },
    SetAcl {
        path: Name,
        default: bool,
        user: u32,
        bits: (u16, u16, u16, u16, u16),
    },
    Umask {
        mask: u32,
    },
}

fn name() -> BoxedStrategy<Name> {
    let long = |len: usize| Name("n".repeat(len));
    let path = proptest::sample::select(&PATHS[..]).prop_map(|path| Name(path.to_owned()));
    prop_oneof![40 => path, 1 => Just(long(255)), 1 => Just(long(256)), 1 => Just(Name("d/".to_owned() + &long(250).0))]
        .boxed()
}

/// Offsets near what matters to a file of chunks of 4 KiB, with what is inline, and groups of 512 KiB.
fn offset() -> BoxedStrategy<u64> {
    let edge = proptest::sample::select(&[0u64, 3040, 4096, 8192, 65536, 524_288, 1 << 20][..]);
    let near = (edge, -3i64..=3).prop_map(|(edge, by)| edge.saturating_add_signed(by));
    prop_oneof![4 => near, 4 => 0u64..20_000, 1 => 0u64..1_200_000].boxed()
}

fn range() -> BoxedStrategy<Range> {
    let len = prop_oneof![3 => 1u64..100, 3 => 1u64..10_000, 1 => 1u64..600_000, 1 => Just(4096), 1 => Just(0)];
    (offset(), len).prop_map(|(at, len)| Range { at, len }).boxed()
}

fn mode() -> impl Strategy<Value = u32> {
    proptest::sample::select(
        &[
            0o644u32, 0o600, 0o755, 0o777, 0o666, 0o4755, 0o2755, 0o2644, 0o6777, 0o1777, 0o2775, 0o444, 0o000,
        ][..],
    )
}

fn open() -> BoxedStrategy<What> {
    let flag = |bits: i32| prop_oneof![3 => Just(0u32), 1 => Just(bits.cast_unsigned())];
    let access =
        proptest::sample::select(&[libc::O_RDWR, libc::O_RDWR, libc::O_RDWR, libc::O_RDONLY, libc::O_WRONLY][..]);
    let create = prop_oneof![2 => Just(libc::O_CREAT.cast_unsigned()), 1 => Just(0)];
    let others = (
        flag(libc::O_EXCL),
        flag(libc::O_TRUNC),
        flag(libc::O_APPEND),
        flag(libc::O_NOFOLLOW),
        prop_oneof![15 => Just(0u32), 1 => Just(libc::O_SYNC.cast_unsigned())],
    );
    (0..SLOTS, name(), access, create, others, mode())
        .prop_map(|(slot, path, access, create, others, mode)| {
            let (exclusive, truncate, append, no_follow, sync) = others;
            // What O_EXCL means without O_CREAT is not defined.
            let exclusive = if create == 0 { 0 } else { exclusive };
            let flags = access.cast_unsigned() | create | exclusive | truncate | append | no_follow | sync;
            What::Open {
                slot,
                path,
                flags,
                mode,
            }
        })
        .boxed()
}

fn content() -> BoxedStrategy<What> {
    let slot = || 0..SLOTS;
    let keep = libc::FALLOC_FL_KEEP_SIZE.cast_unsigned();
    let (punch, zero) = (
        libc::FALLOC_FL_PUNCH_HOLE.cast_unsigned(),
        libc::FALLOC_FL_ZERO_RANGE.cast_unsigned(),
    );
    let allocate = proptest::sample::select(vec![0, keep, punch | keep, punch | keep, zero, zero | keep, punch]);
    let write = proptest::option::of(any::<u8>());
    prop_oneof![
        4 => (slot(), range()).prop_map(|(slot, range)| What::Read { slot, range }),
        6 => (slot(), range(), any::<u8>()).prop_map(|(slot, range, seed)| What::Write { slot, range, seed }),
        2 => (slot(), 1u64..9000, any::<u8>()).prop_map(|(slot, len, seed)| What::Append { slot, len, seed }),
        3 => (slot(), range(), write).prop_map(|(slot, range, write)| What::Map { slot, range, write }),
        1 => (slot(), offset(), any::<bool>()).prop_map(|(slot, at, data)| What::Seek { slot, at, data }),
        1 => (slot(), any::<bool>()).prop_map(|(slot, data_only)| What::Sync { slot, data_only }),
        3 => (slot(), offset()).prop_map(|(slot, len)| What::FTruncate { slot, len }),
        3 => (slot(), allocate, range()).prop_map(|(slot, mode, range)| What::Allocate { slot, mode, range }),
        2 => (slot(), offset(), slot(), range()).prop_map(|(from, at, to, range)| What::Copy { from, at, to, range }),
        1 => (name(), offset()).prop_map(|(path, len)| What::Truncate { path, len }),
    ]
    .boxed()
}

fn names() -> BoxedStrategy<What> {
    let exchange = [
        0,
        0,
        0,
        libc::RENAME_NOREPLACE,
        libc::RENAME_EXCHANGE,
        libc::RENAME_WHITEOUT,
        3,
        8,
    ];
    let exchange = proptest::sample::select(exchange.to_vec());
    let kind = proptest::sample::select(&[libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFCHR][..]);
    prop_oneof![
        4 => (name(), mode()).prop_map(|(path, mode)| What::Mkdir { path, mode }),
        1 => (name(), kind, mode()).prop_map(|(path, kind, mode)| What::Mknod { path, kind, mode }),
        2 => (name(), name()).prop_map(|(path, target)| What::Symlink { path, target }),
        2 => (name(), name(), any::<bool>()).prop_map(|(from, to, follow)| What::Link { from, to, follow }),
        1 => (0..SLOTS, name()).prop_map(|(slot, to)| What::LinkOpen { slot, to }),
        3 => name().prop_map(|path| What::Unlink { path }),
        2 => name().prop_map(|path| What::Rmdir { path }),
        5 => (name(), name(), exchange).prop_map(|(from, to, flags)| What::Rename { from, to, flags }),
        1 => name().prop_map(|path| What::ReadLink { path }),
        2 => name().prop_map(|path| What::List { path }),
    ]
    .boxed()
}

fn attributes() -> BoxedStrategy<What> {
    // Never both: what strangers may do to nothing, the kernel does not ask.
    let id = || proptest::option::of(0u32..3);
    let (seconds, nanoseconds) = (
        -3_000i64..3_000,
        prop_oneof![0..1_000_000_000i64, Just(libc::UTIME_NOW), Just(libc::UTIME_OMIT)],
    );
    let bits = (0u16..8, 0u16..8, 0u16..8, 0u16..8, 0u16..8);
    prop_oneof![
        3 => (name(), mode()).prop_map(|(path, mode)| What::Chmod { path, mode }),
        1 => (0..SLOTS, mode()).prop_map(|(slot, mode)| What::FChmod { slot, mode }),
        3 => (name(), id(), (0u32..3).prop_map(Some)).prop_map(|(path, uid, gid)| What::Chown { path, uid, gid }),
        2 => (name(), seconds, nanoseconds).prop_map(|(path, seconds, nanoseconds)| What::Times { path, seconds, nanoseconds }),
        1 => (name(), 0u32..8).prop_map(|(path, how)| What::Access { path, how }),
        2 => (name(), 0usize..5, 0usize..300, 0u32..3).prop_map(|(path, name, len, flags)| What::SetXattr { path, name, len, flags }),
        1 => (name(), 0usize..5).prop_map(|(path, name)| What::GetXattr { path, name }),
        1 => (name(), 0usize..5).prop_map(|(path, name)| What::RemoveXattr { path, name }),
        2 => (name(), any::<bool>(), 0u32..3, bits).prop_map(|(path, default, user, bits)| What::SetAcl { path, default, user, bits }),
        1 => proptest::sample::select(&[0o022u32, 0, 0o077, 0o002][..]).prop_map(|mask| What::Umask { mask }),
    ]
    .boxed()
}

/// A sequence of calls: some begin by making what the later ones work on.
pub fn sequence(most: usize) -> impl Strategy<Value = Vec<Call>> {
    let what = prop_oneof![3 => open(), 6 => content(), 5 => names(), 3 => attributes(), 1 => (0..SLOTS).prop_map(|slot| What::Close { slot })];
    let by = prop_oneof![4 => Just(User(0)), 1 => Just(User(1)), 1 => Just(User(2))];
    vec((by, what).prop_map(|(by, what)| Call { by, what }), 1..most)
}

/// What random sequences begin with: something of every kind, so that most calls find what they need.
pub fn prologue() -> Vec<Call> {
    let path = |path: &str| Name(path.to_owned());
    let flags = (libc::O_RDWR | libc::O_CREAT).cast_unsigned();
    let open = |slot, at: &str| What::Open {
        slot,
        path: path(at),
        flags,
        mode: 0o666,
    };
    let mkdir = |at: &str| What::Mkdir {
        path: path(at),
        mode: 0o777,
    };
    let write = |slot, at, len| What::Write {
        slot,
        range: Range { at, len },
        seed: 1,
    };
    let calls = [
        What::Umask { mask: 0 },
        mkdir("d"),
        mkdir("d/e"),
        mkdir("f"),
        open(0, "a"),
        open(1, "b"),
        open(2, "d/a"),
        open(3, "d/b"),
        write(0, 0, 3000),
        write(1, 550_000, 30_000),
        write(2, 0, 100_000),
        What::Symlink {
            path: path("c"),
            target: path("a"),
        },
        What::Link {
            from: path("b"),
            to: path("d/e/a"),
            follow: false,
        },
    ];
    calls.map(|what| Call { by: User(0), what }).to_vec()
}
