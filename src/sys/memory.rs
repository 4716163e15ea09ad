//! Memory for secrets: slots of 32 bytes in pages that are locked into RAM, left out of core dumps and
//! wiped in a forked child. A slot is wiped when it is dropped.
//!
//! It is not an allocator for anything else, and it knows nothing of what lies in a slot.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use zeroize::Zeroize;

/// Bytes of one slot: an AES-256 key.
pub const SLOT: usize = 32;

/// Bytes of memory that are mapped at once. Tests take more, so that a slot that was given back rests for long
/// before it is handed out again and they can look at what was left in it.
const REGION: usize = if cfg!(test) { 1 << 20 } else { 1 << 16 };

/// Set as soon as one region could not be locked, and never cleared: what is in it may be swapped out.
static UNLOCKED: AtomicBool = AtomicBool::new(false);

static SLAB: Slab = Slab::new();

/// Whether all memory for secrets so far is locked into RAM. `false` says that `RLIMIT_MEMLOCK` was too small
/// for some of it, which goes on unlocked: worth one warning, not a refusal.
pub fn locked() -> bool {
    !UNLOCKED.load(Ordering::Relaxed)
}

/// Keeps this process's memory out of core dumps and away from other processes of the same user
/// (`PR_SET_DUMPABLE` 0, `RLIMIT_CORE` 1).
///
/// A limit of 0 stops dumps to a file only, and the kernel makes a process that takes a caller's identity dumpable
/// again where `fs.suid_dumpable` says so; 1 byte also stops those to a program (`core_pattern` with a pipe).
///
/// # Errors
/// What the kernel answers; none is known to happen.
pub fn harden_process() -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = |bytes| Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    // What the limit was lowered to before cannot be raised.
    rustix::process::setrlimit(Resource::Core, none(1)).or_else(|_| rustix::process::setrlimit(Resource::Core, none(0)))
}

/// Gives memory that was freed back to the system, which the allocator does not do by itself.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches free memory of the allocator only, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// 32 bytes of locked memory, wiped when dropped. Deliberately neither `Clone` nor `Debug`.
///
/// A process that forks finds zeroes here in the child: fork first, then fetch keys.
pub struct Slot {
    at: NonNull<[u8; SLOT]>,
    slab: &'static Slab,
}

impl Slot {
    /// A slot of zeroes.
    pub fn zeroed() -> Slot {
        SLAB.take()
    }

    /// What lies in the slot.
    pub fn bytes(&self) -> &[u8; SLOT] {
        // SAFETY: `at` came from `Slab::take`, which hands each slot out once and never unmaps it; `&self`
        // excludes a writer.
        unsafe { self.at.as_ref() }
    }

    /// What lies in the slot, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8; SLOT] {
        // SAFETY: as in `bytes`; `&mut self` excludes every other user of this slot.
        unsafe { self.at.as_mut() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        self.slab.free.lock().push_back(Free(self.at));
    }
}

// SAFETY: a slot is plain bytes owned by one value; nothing about it is bound to a thread.
unsafe impl Send for Slot {}
// SAFETY: a shared slot can only be read.
unsafe impl Sync for Slot {}

/// A slot nobody owns; it holds zeroes.
struct Free(NonNull<[u8; SLOT]>);

// SAFETY: an address of memory that stays mapped for the life of the process.
unsafe impl Send for Free {}

/// Mapped regions, cut into slots. First in, first out: a stale pointer finds zeroes for as long as possible.
struct Slab {
    free: Mutex<VecDeque<Free>>,
}

impl Slab {
    const fn new() -> Slab {
        Slab {
            free: Mutex::new(VecDeque::new()),
        }
    }

    fn take(&'static self) -> Slot {
        let mut free = self.free.lock();
        if free.is_empty() {
            free.extend(map_region());
        }
        match free.pop_front() {
            Some(Free(at)) => Slot { at, slab: self },
            // No memory at all: what every allocation in Rust does then.
            None => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; REGION]>()),
        }
    }
}

/// Maps one region, protects it as well as the system allows, and cuts it. Nothing if there is no memory.
fn map_region() -> impl Iterator<Item = Free> {
    let flags = MapFlags::PRIVATE;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice touches no memory in use.
    let region = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), REGION, access, flags) };
    let region = region.ok().and_then(|start| NonNull::new(start.cast::<[u8; SLOT]>()));
    if let Some(start) = region {
        protect(start);
    }
    let slots = if region.is_some() { REGION / SLOT } else { 0 };
    region.into_iter().cycle().take(slots).enumerate().map(|(i, start)| {
        // SAFETY: `i < REGION / SLOT`, so the slot lies within the region mapped above; bytes need no alignment.
        Free(unsafe { start.add(i) })
    })
}

fn protect(start: NonNull<[u8; SLOT]>) {
    let at = start.as_ptr().cast();
    // SAFETY: exactly the region that was just mapped; locking changes no byte of it.
    if unsafe { rustix::mm::mlock(at, REGION) }.is_err() {
        UNLOCKED.store(true, Ordering::Relaxed);
    }
    for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
        // An old kernel may not know the advice; `harden_process` covers dumps as well.
        // SAFETY: exactly the region that was just mapped; neither advice changes its content in this process.
        let _ = unsafe { rustix::mm::madvise(at, REGION, advice) };
    }
}

/// For tests of this and other rooms: the place of a slot, to see what is left there after the slot is gone.
#[cfg(test)]
#[derive(Clone, Copy)]
pub(crate) struct Place(usize);

#[cfg(test)]
impl Place {
    pub(crate) fn of(slot: &Slot) -> Place {
        Place(slot.at.as_ptr() as usize)
    }

    /// What lies at the place now.
    pub(crate) fn peek(self) -> [u8; SLOT] {
        // SAFETY: regions are never unmapped; the slot rests in the queue of `REGION / SLOT` others, so no test
        // writes to it while it is looked at.
        unsafe { std::ptr::read_volatile(self.0 as *const [u8; SLOT]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_is_zero_then_kept_then_wiped() {
        let mut slot = Slot::zeroed();
        assert_eq!(slot.bytes(), &[0; SLOT]);
        *slot.bytes_mut() = [0xA5; SLOT];
        let place = Place::of(&slot);
        assert_eq!(place.peek(), [0xA5; SLOT]);
        drop(slot);
        assert_eq!(place.peek(), [0; SLOT]);
    }

    #[test]
    fn slots_do_not_overlap_and_come_again() {
        let slab: &'static Slab = Box::leak(Box::new(Slab::new()));
        let many = REGION / SLOT + 10;
        let mut slots: Vec<Slot> = (0..many).map(|_| slab.take()).collect();
        for (i, slot) in slots.iter_mut().enumerate() {
            slot.bytes_mut()[..8].copy_from_slice(&(i as u64).to_le_bytes());
        }
        for (i, slot) in slots.iter().enumerate() {
            assert_eq!(slot.bytes()[..8], (i as u64).to_le_bytes());
        }
        drop(slots);
        assert_eq!(slab.free.lock().len(), 2 * REGION / SLOT);
        assert!((0..many).all(|_| slab.take().bytes() == &[0; SLOT]));
        assert_eq!(slab.free.lock().len(), 2 * REGION / SLOT);
    }

    #[test]
    fn region_is_out_of_dumps_and_forks() {
        let slot = Slot::zeroed();
        let at = slot.at.as_ptr() as usize;
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|r| r.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&at);
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                assert!(flags.contains(" dd") && flags.contains(" wf"), "{flags}");
                assert_eq!(flags.contains(" lo"), locked(), "{flags}");
                return;
            }
        }
        panic!("the slot's mapping is not listed");
    }
}
