//! What becomes of the chunks between the old end of a file and the new one. Decides, does nothing.
//!
//! A chunk that nobody wrote is a hole, and every hole is authenticated: by an entry of its own when its
//! group is present, by an absent run in the head when its whole group is a hole.

use std::ops::Range;

use crate::format::Geometry;
use crate::format::geometry::GROUP;
use crate::format::head::{ABSENT_MAX, GroupRun, Head};

/// Most groups of an absent run that are given entries in one change: 2 MiB of them.
const FILL_MAX: u64 = 512;
/// Most chunks of one range of holes, but where data is punched.
pub const HOLES_MAX: u64 = FILL_MAX * GROUP;

/// What a write or a resize does to holes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Chunks that need an entry that says "hole".
    pub holes: Vec<Range<u64>>,
    /// The absent runs afterwards.
    pub absent: Vec<GroupRun>,
}

/// A file of `old` chunks becomes one of `new` chunks (`new >= old`), and the chunks `written` are given data.
pub fn grow(geometry: Geometry, absent: &[GroupRun], old: u64, new: u64, written: &Range<u64>) -> Growth {
    let mut growth = Growth::default();
    let mut gone = Groups::from_runs(absent);
    if !written.is_empty() {
        for group in geometry.group_of(written.start)..=geometry.group_of(written.end - 1) {
            let chunks = geometry.chunks_of(group);
            // In a group that is new or was absent, every other chunk is a hole; in one that was there,
            // only those behind the old end are.
            let from = if gone.remove(group) {
                chunks.start
            } else {
                chunks.start.max(old)
            };
            growth.punch(from..chunks.end.min(new), written);
        }
    }
    let touched = |group| geometry.chunks_of(group).any(|chunk| written.contains(&chunk));
    if old < new {
        let edge = geometry.group_of(old);
        let first_new = if geometry.chunks_of(edge).start < old {
            if !touched(edge) && !gone.contains(edge) {
                growth.punch(old..geometry.chunks_of(edge).end.min(new), &(0..0));
            }
            edge + 1
        } else {
            edge
        };
        let written_groups = match written.is_empty() {
            true => 0..0,
            false => geometry.group_of(written.start)..geometry.group_of(written.end - 1) + 1,
        };
        gone.add(first_new..geometry.group_of(new - 1) + 1, &written_groups);
    }
    growth.absent = gone.into_runs(geometry, new, &mut growth.holes);
    growth
}

/// The runs after the groups `punched` became holes as a whole.
pub fn with_absent(geometry: Geometry, absent: &[GroupRun], chunks: u64, punched: Range<u64>) -> Growth {
    let mut holes = Vec::new();
    let mut gone = Groups::from_runs(absent);
    gone.add(punched, &(0..0));
    let absent = gone.into_runs(geometry, chunks, &mut holes);
    Growth { holes, absent }
}

/// The runs that remain in a file of `chunks` chunks.
pub fn cut(geometry: Geometry, absent: &[GroupRun], chunks: u64) -> Vec<GroupRun> {
    let groups = match chunks {
        0 => 0,
        chunks => geometry.group_of(chunks - 1) + 1,
    };
    let within = absent.iter().filter(|run| u64::from(run.first) < groups);
    within
        .map(|run| GroupRun {
            first: run.first,
            count: (run.end().min(groups) - u64::from(run.first)) as u32,
        })
        .collect()
}

/// Whether a change may make more runs of those in `head` than there is room for: a write splits one and leaves another
/// behind the old end.
pub fn is_tight(head: &Head) -> bool {
    head.absent.len() + 2 > ABSENT_MAX
}

impl Growth {
    /// The chunks of a part of a run that is too long to be given entries in one change, or of what will be one behind the
    /// end of the file. `head` is that of the file as it is.
    pub fn part_of_long(&self, geometry: Geometry, head: &Head) -> Option<Range<u64>> {
        let holes = self.holes.iter().find(|holes| holes.end - holes.start > HOLES_MAX)?;
        let groups = geometry.group_of(holes.start)..geometry.group_of(holes.end - 1) + 1;
        // From that side on which no other part of the run would be cut off.
        let part = match groups.start.checked_sub(1).is_some_and(|before| head.is_absent(before)) {
            false => groups.start..groups.start + FILL_MAX,
            true => groups.end - FILL_MAX..groups.end,
        };
        let chunks = geometry.chunks(head.size);
        let is_data = |group| !head.is_absent(group) && geometry.chunks_of(group).start < chunks;
        let part_chunks = geometry.chunks_of(part.start).start..geometry.chunks_of(part.end - 1).end.min(holes.end);
        (!part.clone().any(is_data)).then_some(part_chunks)
    }

    /// Adds `range` without `except` to the holes.
    fn punch(&mut self, range: Range<u64>, except: &Range<u64>) {
        let before = range.start..range.end.min(except.start.max(range.start));
        let after = range.start.max(except.end)..range.end;
        if except.is_empty() {
            self.push(range);
        } else {
            self.push(before);
            self.push(after);
        }
    }

    fn push(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.holes.push(range);
        }
    }
}

/// A set of groups as ordered ranges that do not touch.
struct Groups(Vec<Range<u64>>);

impl Groups {
    fn from_runs(runs: &[GroupRun]) -> Self {
        Self(runs.iter().map(|run| u64::from(run.first)..run.end()).collect())
    }

    fn contains(&self, group: u64) -> bool {
        self.0.iter().any(|range| range.contains(&group))
    }

    fn remove(&mut self, group: u64) -> bool {
        let Some(at) = self.0.iter().position(|range| range.contains(&group)) else {
            return false;
        };
        let range = self.0.remove(at);
        let parts = [range.start..group, group + 1..range.end];
        for part in parts.into_iter().rev().filter(|part| !part.is_empty()) {
            self.0.insert(at, part);
        }
        true
    }

    /// Adds `range` without `except`.
    fn add(&mut self, range: Range<u64>, except: &Range<u64>) {
        let parts = match except.is_empty() {
            true => vec![range],
            false => vec![
                range.start..range.end.min(except.start),
                range.start.max(except.end)..range.end,
            ],
        };
        self.0.extend(parts.into_iter().filter(|part| !part.is_empty()));
        self.0.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::with_capacity(self.0.len());
        for range in self.0.drain(..) {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        self.0 = merged;
    }

    /// The runs, at most [`ABSENT_MAX`]: the smallest of more become ordinary groups with an entry for
    /// each hole.
    fn into_runs(mut self, geometry: Geometry, chunks: u64, holes: &mut Vec<Range<u64>>) -> Vec<GroupRun> {
        while self.0.len() > ABSENT_MAX {
            let smallest = (0..self.0.len()).min_by_key(|at| self.0[*at].end - self.0[*at].start);
            let groups = self.0.remove(smallest.unwrap_or(0));
            let last = geometry.chunks_of(groups.end - 1);
            holes.push(geometry.chunks_of(groups.start).start..last.end.min(chunks));
        }
        // Geometry::max_size keeps group numbers within 32 bits.
        let run = |range: Range<u64>| GroupRun {
            first: range.start as u32,
            count: (range.end - range.start) as u32,
        };
        self.0.into_iter().map(run).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const G: u32 = 4096;

    fn geometry() -> Geometry {
        Geometry::new(G).unwrap()
    }

    #[test]
    fn an_append_makes_no_hole() {
        assert_eq!(grow(geometry(), &[], 5, 7, &(4..7)), Growth::default());
    }

    #[test]
    fn a_sparse_file_of_8_gib_costs_no_entry() {
        let chunks = (8 << 30) / 4096;
        let growth = grow(geometry(), &[], 0, chunks, &(0..0));
        assert_eq!(growth.holes, []);
        assert_eq!(growth.absent, [GroupRun { first: 0, count: 16385 }]);
    }

    /// What each chunk of a file is: data, a hole with an entry, or in an absent group.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Is {
        Data,
        Hole,
    }

    proptest! {
        /// Random writes and resizes, against a model that knows every chunk.
        #[test]
        fn every_chunk_is_accounted_for(steps in proptest::collection::vec((0u64..3000, 0u64..40, any::<bool>()), 1..60)) {
            let g = geometry();
            let mut model: Vec<Is> = Vec::new();
            let mut entries: std::collections::HashMap<u64, Is> = Default::default();
            let mut absent: Vec<GroupRun> = Vec::new();
            for (at, len, cut_first) in steps {
                if cut_first && len % 3 == 0 {
                    model.truncate(at as usize);
                    absent = cut(g, &absent, model.len() as u64);
                    entries.retain(|chunk, _| *chunk < model.len() as u64);
                }
                let written = at..at + len;
                let old = model.len() as u64;
                let new = old.max(written.end);
                let growth = grow(g, &absent, old, new, &written);
                absent = growth.absent;
                prop_assert!(absent.len() <= ABSENT_MAX);
                for hole in growth.holes.into_iter().flatten() {
                    prop_assert!(!written.contains(&hole) && hole < new);
                    prop_assert!(model.get(hole as usize) != Some(&Is::Data));
                    entries.insert(hole, Is::Hole);
                }
                model.resize(new as usize, Is::Hole);
                for chunk in written { model[chunk as usize] = Is::Data; entries.insert(chunk, Is::Data); }
                for (chunk, is) in model.iter().enumerate() {
                    let group = g.group_of(chunk as u64);
                    let gone = absent.iter().any(|run| (u64::from(run.first)..run.end()).contains(&group));
                    if gone {
                        prop_assert_eq!(*is, Is::Hole);
                        entries.remove(&(chunk as u64));
                    } else {
                        prop_assert_eq!(entries.get(&(chunk as u64)), Some(is), "chunk {}", chunk);
                    }
                }
            }
        }
    }

    #[test]
    fn too_many_runs_become_entries() {
        let absent: Vec<_> = (0..128)
            .map(|n| GroupRun {
                first: 2 * n + 1,
                count: 1,
            })
            .collect();
        let chunks = geometry().chunks_of(400).end;
        let growth = with_absent(geometry(), &absent, chunks, 300..310);
        assert_eq!(growth.absent.len(), 128);
        assert_eq!(growth.holes.len(), 1);
    }
}
