//! Leases: a temporary takes a whole buffer from the node that writes it to the last that reads it.
//!
//! WebGPU tracks usage by whole buffer and forbids a dispatch to read and write the same one, which in one large arena every dispatch would do. All
//! lifetimes are known before anything is allocated, so who shares with whom is decided at once, greedily by size (Pisarchyk and
//! Lee 2020, arXiv 2001.03288, "shared objects").

/// From which dispatch to which something leased is in use, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// The dispatch that writes it.
    pub(super) first: usize,
    /// The last dispatch that reads it, or `first`.
    pub(super) last: usize,
    /// Its size, in whatever unit the caller counts.
    pub(super) size: u64,
}

impl Lifetime {
    /// Whether both are in use at some dispatch. A dispatch must not write what it reads, so ends count.
    #[cfg(test)]
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Which slot each lifetime has, and how large the slots are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leases {
    /// Index of a slot for each lifetime.
    pub(super) slot: Vec<usize>,
    /// Size of each slot, that of its largest tenant; in the order in which they are first written.
    pub(super) sizes: Vec<u64>,
}

impl Leases {
    /// Gives slots to lifetimes, the largest first: each takes the tightest slot whose tenants it does not meet, else a new one.
    ///
    /// Two meet if both are in use at some dispatch. A dispatch must not write what it reads, so ends count.
    /// As sizes only fall, a slot is as large as its first tenant and never grows. Of slots that are equally tight it takes the one
    /// that was in use last before it, so that the long gaps stay for others.
    pub(super) fn of(lifetimes: &[Lifetime]) -> Self {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|&k| (std::cmp::Reverse(lifetimes[k].size), lifetimes[k].first, k));
        let mut slots: Vec<Vec<usize>> = Vec::new();
        // Slots of one size, the largest first: as sizes only fall, new ones come last.
        let mut groups: Vec<(u64, Gaps)> = Vec::new();
        for k in order {
            let Lifetime { first, last, size } = lifetimes[k];
            let tightest = groups.iter_mut().rev();
            let found = tightest.filter_map(|(_, gaps)| gaps.take(first, last)).next();
            if let Some(slot) = found {
                slots[slot].push(k);
                continue;
            }
            if groups.last().is_none_or(|(known, _)| *known != size) {
                groups.push((size, Gaps::default()));
            }
            if let Some((_, gaps)) = groups.last_mut() {
                gaps.open(slots.len(), first, last);
            }
            slots.push(vec![k]);
        }
        let size = |tenants: &[usize]| lifetimes[tenants[0]].size;
        slots.sort_by_key(|tenants| {
            tenants.iter().map(|&t| (lifetimes[t].first, t)).min().unwrap_or_default()
        });
        let mut slot = vec![0; lifetimes.len()];
        for (k, tenants) in slots.iter().enumerate() {
            for &tenant in tenants {
                slot[tenant] = k;
            }
        }
        Self { slot, sizes: slots.iter().map(|tenants| size(tenants)).collect() }
    }
}

/// A time in which a slot has no tenant, between two of them or at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    /// First dispatch; 0 before the first tenant.
    from: usize,
    /// The dispatch behind its last.
    until: usize,
    slot: usize,
}

impl Gap {
    /// The order in which gaps are kept: of those that one can take, the last is the best. It has been idle for the shortest time, and of
    /// equal ones it is that of the slot that was made first.
    fn key(&self) -> (usize, std::cmp::Reverse<usize>) {
        (self.from, std::cmp::Reverse(self.slot))
    }
}

/// Gaps in order, in blocks of at most [`BLOCK`]; each with the greatest end of its gaps, so that what is too short is passed over.
#[derive(Debug, Default)]
struct Gaps(Vec<(usize, Vec<Gap>)>);

/// Gaps of a block.
const BLOCK: usize = 64;

impl Gaps {
    /// A slot that has its first tenant.
    fn open(&mut self, slot: usize, first: usize, last: usize) {
        self.insert(Gap { from: 0, until: first, slot });
        self.insert(Gap { from: last + 1, until: usize::MAX, slot });
    }

    /// Gives dispatches `first` to `last` of the best slot to a tenant, if one is free.
    fn take(&mut self, first: usize, last: usize) -> Option<usize> {
        let fits = |gap: &Gap| gap.from <= first && last < gap.until;
        let blocks = self.0.iter().enumerate().rev().filter(|(_, (until, _))| last < *until);
        let found = |(at, (_, gaps)): (usize, &(usize, Vec<Gap>))| {
            gaps.iter().rposition(fits).map(|place| (at, place))
        };
        let (at, place) = blocks.filter_map(found).next()?;
        let (until, gaps) = &mut self.0[at];
        let gap = gaps.remove(place);
        *until = gaps.iter().map(|gap| gap.until).max().unwrap_or(0);
        if gaps.is_empty() {
            self.0.remove(at);
        }
        if gap.from < first {
            self.insert(Gap { until: first, ..gap });
        }
        if last + 1 < gap.until {
            self.insert(Gap { from: last + 1, ..gap });
        }
        Some(gap.slot)
    }

    fn insert(&mut self, gap: Gap) {
        if gap.from >= gap.until {
            return;
        }
        // The last block that begins no later; the first one for what comes before all.
        let behind = self.0.partition_point(|(_, gaps)| gaps[0].key() <= gap.key());
        let at = behind.saturating_sub(1);
        let Some((until, gaps)) = self.0.get_mut(at) else {
            self.0.push((gap.until, vec![gap]));
            return;
        };
        *until = (*until).max(gap.until);
        let place = gaps.partition_point(|known| known.key() < gap.key());
        gaps.insert(place, gap);
        if gaps.len() > BLOCK {
            let rest = gaps.split_off(BLOCK / 2);
            *until = gaps.iter().map(|gap| gap.until).max().unwrap_or(0);
            self.0.insert(at + 1, (rest.iter().map(|gap| gap.until).max().unwrap_or(0), rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Leases, Lifetime};
    use crate::random::Stream;

    fn life(first: usize, last: usize, size: u64) -> Lifetime {
        Lifetime { first, last, size }
    }

    #[test]
    fn the_tightest_slot_that_is_free_is_taken() {
        let leases = Leases::of(&[life(0, 1, 10), life(0, 2, 100), life(2, 3, 8), life(3, 4, 100)]);
        assert_eq!(leases, Leases { slot: vec![0, 1, 0, 1], sizes: vec![10, 100] });
    }

    /// A dispatch writes nothing that it reads.
    #[test]
    fn what_ends_where_another_begins_is_not_shared() {
        let leases = Leases::of(&[life(0, 1, 4), life(1, 2, 4), life(2, 3, 4)]);
        assert_eq!(leases.slot, [0, 1, 0]);
    }

    /// What [`Leases::of`] says it does, slot by slot.
    fn plainly(lifetimes: &[Lifetime]) -> Leases {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|&k| (std::cmp::Reverse(lifetimes[k].size), lifetimes[k].first, k));
        let mut slots: Vec<Vec<usize>> = Vec::new();
        let size = |tenants: &[usize]| lifetimes[tenants[0]].size;
        for k in order {
            let wanted = &lifetimes[k];
            let free = |tenants: &[usize]| !tenants.iter().any(|&t| lifetimes[t].meets(wanted));
            let idle = |tenants: &[usize]| {
                let ends = tenants.iter().map(|&t| lifetimes[t].last).filter(|&l| l < wanted.first);
                ends.max().map_or(usize::MAX, |last| wanted.first - last)
            };
            let best = slots.iter_mut().filter(|t| free(t)).min_by_key(|t| (size(t), idle(t)));
            match best {
                Some(tenants) => tenants.push(k),
                None => slots.push(vec![k]),
            }
        }
        slots.sort_by_key(|tenants| {
            tenants.iter().map(|&t| (lifetimes[t].first, t)).min().unwrap_or_default()
        });
        let mut slot = vec![0; lifetimes.len()];
        for (k, tenants) in slots.iter().enumerate() {
            tenants.iter().for_each(|&tenant| slot[tenant] = k);
        }
        Leases { slot, sizes: slots.iter().map(|tenants| size(tenants)).collect() }
    }

    #[test]
    fn the_slots_are_those_that_the_rule_gives() {
        let mut stream = Stream::new(&[8]);
        let mut draw = |most: usize| stream.between(0.0, most as f64) as usize;
        for round in 0..300 {
            // Few sizes and many, short lives and long ones, and such as lie inside each other as those of a training step do.
            let (sizes, length, nested) = (1 + draw(40), 1 + draw(200), round % 3 == 0);
            let lives: Vec<_> = (0..draw(400))
                .map(|k| {
                    let first = if nested { k } else { draw(300) };
                    let last = if nested && draw(2) == 0 { 1000 - k } else { first + draw(length) };
                    life(first, last, 1 + draw(sizes) as u64)
                })
                .collect();
            assert_eq!(Leases::of(&lives), plainly(&lives), "{lives:?}");
        }
    }

    #[test]
    fn no_two_that_meet_share_and_all_fit() {
        let mut stream = Stream::new(&[7]);
        let mut draw = |most: f64| stream.between(0.0, most) as usize;
        for _ in 0..200 {
            let lives: Vec<_> = (0..draw(60.0))
                .map(|first| life(first, first + draw(20.0), 1 + draw(1000.0) as u64))
                .collect();
            let Leases { slot, sizes } = Leases::of(&lives);
            for (a, one) in lives.iter().enumerate() {
                assert!(one.size <= sizes[slot[a]]);
                for (b, other) in lives.iter().enumerate().skip(a + 1) {
                    assert!(slot[a] != slot[b] || !one.meets(other), "{one:?} and {other:?}");
                }
            }
        }
    }
}
