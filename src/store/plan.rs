//! How a change is cut into writes: pure decisions, no I/O.

use crate::format::Geometry;
use crate::format::journal::Run;

/// Where a chunk is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To its place.
    Place,
    /// To the journal.
    Journal,
    /// Nowhere: it has been written already.
    Done,
}

/// Fresh bytes since the last sync up to which a file that is synced often is journaled whole: one sync
/// of the journal, which others may share, instead of one of the file and one of the journal.
pub const SMALL: u64 = 64 * 1024;

/// What a file's history says about the next write.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habit {
    /// Syncs that somebody asked for.
    pub syncs: u64,
    /// Fresh bytes since the last of them.
    pub fresh_bytes: u64,
    /// Fresh chunks were written to their places since the last sync, so the file will be synced anyway.
    pub outstanding: bool,
}

/// Where fresh chunks of `bytes` go.
#[must_use]
pub fn route_fresh(habit: Habit, bytes: u64) -> Route {
    let small = habit.fresh_bytes.saturating_add(bytes) <= SMALL;
    if habit.syncs >= 2 && small && !habit.outstanding {
        Route::Journal
    } else {
        Route::Place
    }
}

/// Cuts runs into pieces of one kind each.
pub fn cut<'a, K: PartialEq + Copy>(
    runs: &[Run<'a>],
    geometry: Geometry,
    kind: impl Fn(u64) -> K,
) -> Vec<(K, Run<'a>)> {
    let mut pieces: Vec<(K, Run<'a>)> = Vec::new();
    for run in runs {
        let mut start = 0;
        while start < run.entries.len() {
            let at = |index: usize| kind(run.first + index as u64);
            let here = at(start);
            let len = (start..run.entries.len())
                .take_while(|index| at(*index) == here)
                .count();
            pieces.push((here, part(run, geometry, start..start + len)));
            start += len;
        }
    }
    pieces
}

/// Cuts a run so that each piece lies in one group: its data is contiguous in the stored file then, and its
/// entries too.
pub fn by_group<'a>(run: &Run<'a>, geometry: Geometry) -> Vec<Run<'a>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < run.entries.len() {
        let first = run.first + start as u64;
        let left = geometry.chunks_of(geometry.group_of(first)).end - first;
        let len = (run.entries.len() - start).min(left as usize);
        pieces.push(part(run, geometry, start..start + len));
        start += len;
    }
    pieces
}

/// Cuts runs into batches of about `most` bytes, one record each.
pub fn batches<'a>(runs: &[Run<'a>], geometry: Geometry, most: usize) -> Vec<Vec<Run<'a>>> {
    let mut batches: Vec<Vec<Run<'a>>> = Vec::new();
    let mut room = 0;
    for run in runs {
        let mut start = 0;
        while start < run.entries.len() {
            let full = geometry.chunk_size() as usize + size_of::<crate::format::Entry>();
            let weight = if run.data.is_empty() {
                full - geometry.chunk_size() as usize
            } else {
                full
            };
            let fits = (room / weight).min(run.entries.len() - start);
            if fits == 0 {
                room = most.max(weight);
                batches.push(Vec::new());
                continue;
            }
            room -= fits * weight;
            if let Some(batch) = batches.last_mut() {
                batch.push(part(run, geometry, start..start + fits));
            }
            start += fits;
        }
    }
    batches
}

fn part<'a>(run: &Run<'a>, geometry: Geometry, range: std::ops::Range<usize>) -> Run<'a> {
    let full = geometry.chunk_size() as usize;
    let data = (range.start * full).min(run.data.len())..(range.end * full).min(run.data.len());
    Run {
        first: run.first + range.start as u64,
        entries: &run.entries[range],
        data: &run.data[data],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Entry;
    use proptest::prelude::*;

    #[test]
    fn small_appends_of_a_synced_file_are_journaled() {
        let habit = Habit {
            syncs: 2,
            fresh_bytes: 0,
            outstanding: false,
        };
        assert_eq!(route_fresh(habit, 8192), Route::Journal);
        assert_eq!(route_fresh(habit, SMALL + 1), Route::Place);
        assert_eq!(
            route_fresh(
                Habit {
                    outstanding: true,
                    ..habit
                },
                1
            ),
            Route::Place
        );
        assert_eq!(route_fresh(Habit::default(), 1), Route::Place);
        assert_eq!(
            route_fresh(
                Habit {
                    fresh_bytes: SMALL,
                    ..habit
                },
                1
            ),
            Route::Place
        );
    }

    proptest! {
        #[test]
        fn pieces_make_up_the_run(first in 0u64..400, count in 1usize..300, tail in 1u32..=4096, holes in any::<bool>(), most in 1usize..100_000, bits in any::<u64>()) {
            let geometry = Geometry::new(4096).unwrap();
            let mut entries = vec![Entry::new([0; 12], [0; 16], if holes { 0 } else { 4096 }); count];
            if !holes { entries[count - 1] = Entry::new([0; 12], [0; 16], tail); }
            let data = vec![0; if holes { 0 } else { (count - 1) * 4096 + tail as usize }];
            let run = Run { first, entries: &entries, data: &data };
            let route = |chunk| if bits >> (chunk % 64) & 1 == 1 { Route::Place } else { Route::Journal };
            let cuts: Vec<_> = cut(&[run], geometry, route).into_iter().map(|piece| piece.1).collect();
            let groups = by_group(&run, geometry);
            let batched: Vec<_> = batches(&[run], geometry, most).into_iter().flatten().collect();
            for piece in &groups {
                let last = piece.first + piece.entries.len() as u64 - 1;
                prop_assert_eq!(geometry.group_of(piece.first), geometry.group_of(last));
            }
            for pieces in [cuts, groups, batched] {
                let mut next = first;
                let mut bytes = 0;
                for piece in pieces {
                    prop_assert!(piece.is_sound(geometry));
                    prop_assert_eq!(piece.first, next);
                    next += piece.entries.len() as u64;
                    bytes += piece.data.len();
                }
                prop_assert_eq!((next, bytes), (first + count as u64, data.len()));
            }
        }
    }
}
