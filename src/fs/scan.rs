//! Who opens one file of a directory after the other: which ones come next. Pure, and in the manner of readahead: two
//! opens in a row begin it, each further one lets it look further ahead, and a jump ends it.

use std::collections::HashMap;

use crate::format::NodeId;

/// Steps that still count as "the next one": programs pass over some files.
const STRIDE: usize = 16;
/// How far it looks ahead at first.
const FIRST: usize = 4;

/// A file that may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its identity.
    pub node: NodeId,
    /// Its name in the backing.
    pub stored: Box<str>,
}

/// A walk through the files of one directory, in one of the two orders that programs walk in: that of listings, and
/// that of names.
#[derive(Debug)]
pub struct Scan {
    files: Vec<Candidate>,
    orders: [Vec<usize>; 2],
    places: HashMap<NodeId, [usize; 2]>,
    last: Option<[usize; 2]>,
    order: usize,
    window: usize,
    /// Up to where, in the order of the walk, files were named.
    named: usize,
}

impl Scan {
    /// A walk that has not begun. `files` come in the order of listings, each with its plain name.
    #[must_use]
    pub fn new(files: Vec<(Candidate, Box<[u8]>)>) -> Scan {
        let by_listing: Vec<usize> = (0..files.len()).collect();
        let mut by_name = by_listing.clone();
        by_name.sort_unstable_by(|a, b| files[*a].1.cmp(&files[*b].1));
        let mut places: HashMap<NodeId, [usize; 2]> = HashMap::with_capacity(files.len());
        for (at, file) in by_listing.iter().enumerate() {
            places.entry(files[*file].0.node).or_default()[0] = at;
        }
        for (at, file) in by_name.iter().enumerate() {
            places.entry(files[*file].0.node).or_default()[1] = at;
        }
        Scan {
            files: files.into_iter().map(|(file, _)| file).collect(),
            orders: [by_listing, by_name],
            places,
            last: None,
            order: 0,
            window: 0,
            named: 0,
        }
    }

    /// Notes where the walk was before it was followed.
    pub fn begin(&mut self, node: NodeId) {
        self.last = self.places.get(&node).copied();
    }

    /// Whether it goes on from file to file.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.window > 0
    }

    /// The file `node` was opened, and `cold` says that its key was not at hand. Gives the files whose keys are to be
    /// fetched, at most `limit` ahead; none for a file that it does not know. With `momentum` one cold file is enough
    /// to begin, because a walk through other directories has just led here.
    pub fn opened(&mut self, node: NodeId, cold: bool, momentum: bool, limit: usize) -> Vec<Candidate> {
        let Some(places) = self.places.get(&node).copied() else {
            return Vec::new();
        };
        let last = self.last.replace(places);
        let step = |order: usize| {
            let step = places[order].checked_sub(last?[order])?;
            (1..=STRIDE).contains(&step).then_some((step, order))
        };
        let next = [step(0), step(1)].into_iter().flatten().min();
        let begins = cold && self.window == 0 && (next.is_some() || momentum);
        match next {
            _ if begins => self.window = FIRST.min(limit),
            Some(_) if self.window > 0 => self.window = (self.window * 2).min(limit),
            _ => {
                self.window = 0;
                return Vec::new();
            }
        }
        let order = next.map_or(self.order, |(_, order)| order);
        if order != self.order || begins {
            (self.order, self.named) = (order, 0);
        }
        self.name(places[order] + 1)
    }

    /// The files from `from` on within the window, as far as they were not named before.
    fn name(&mut self, from: usize) -> Vec<Candidate> {
        let order = &self.orders[self.order];
        let end = (from + self.window).min(order.len());
        let begin = self.named.clamp(from.min(end), end);
        self.named = end;
        order[begin..end].iter().map(|at| self.files[*at].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u8; 0] = [];

    fn node(number: u8) -> NodeId {
        NodeId([number; 16])
    }

    /// Files 0 to 99 as they are listed; their names are in the opposite order.
    fn scan() -> Scan {
        let file = |number: u8| {
            let file = Candidate {
                node: node(number),
                stored: number.to_string().into(),
            };
            (file, vec![200 - number].into())
        };
        Scan::new((0..100).map(file).collect())
    }

    fn opened(scan: &mut Scan, number: u8, cold: bool) -> Vec<u8> {
        let named = scan.opened(node(number), cold, false, 16);
        named.iter().map(|file| file.node.0[0]).collect()
    }

    #[test]
    fn two_in_a_row_begin_it_and_each_further_one_widens_it() {
        let mut scan = scan();
        assert_eq!(opened(&mut scan, 0, true), NONE);
        assert_eq!(opened(&mut scan, 1, true), [2, 3, 4, 5]);
        assert_eq!(opened(&mut scan, 2, false), [6, 7, 8, 9, 10]);
        assert_eq!(opened(&mut scan, 3, false), (11..20).collect::<Vec<_>>());
        // From now on one is named for each that is opened.
        assert_eq!(opened(&mut scan, 4, false), [20]);
        assert_eq!(opened(&mut scan, 6, false), [21, 22]);
        assert_eq!(opened(&mut scan, 98, false), NONE);
    }

    #[test]
    fn names_are_an_order_too() {
        let mut scan = scan();
        opened(&mut scan, 50, true);
        assert_eq!(opened(&mut scan, 49, true), [48, 47, 46, 45]);
        assert_eq!(opened(&mut scan, 0, true), NONE);
    }

    #[test]
    fn what_is_at_hand_or_in_no_order_begins_nothing() {
        let mut scan = scan();
        assert!((0..50).all(|number| opened(&mut scan, number, false).is_empty()));
        assert!(
            [10, 60, 20, 80, 0, 99]
                .iter()
                .all(|number| opened(&mut scan, *number, true).is_empty())
        );
        assert_eq!(opened(&mut scan, 200, true), NONE, "it does not know that one");
    }

    #[test]
    fn momentum_and_a_second_walk() {
        let mut scan = scan();
        let named = scan.opened(node(0), true, true, 16);
        assert_eq!(named.len(), FIRST);
        (1..100).for_each(|number| drop(opened(&mut scan, number, false)));
        // The keys have expired since.
        assert_eq!(opened(&mut scan, 0, true), NONE);
        assert_eq!(opened(&mut scan, 1, true), [2, 3, 4, 5]);
    }

    #[test]
    fn every_file_is_named_once() {
        let mut scan = scan();
        scan.begin(node(0));
        let named: Vec<u8> = (1..100)
            .flat_map(|number| opened(&mut scan, number, number == 1))
            .collect();
        assert_eq!(named, (2..100).collect::<Vec<_>>());
    }
}
