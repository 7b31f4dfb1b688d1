//! Leases: a temporary takes a whole buffer from the node that writes it to the last that reads it.
//!
//! WebGPU tracks usage by whole buffer, so an arena would make every dispatch read and write the same one (invariant 4). All
//! lifetimes are known before anything is allocated, so who shares with whom is decided at once, greedily by size (Pisarchyk and
//! Lee 2020, arXiv 2001.03288, "shared objects").

/// How long something leased is wanted, and how large it is.
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
    /// Whether some dispatch wants both: it must not write what it reads, so ends count.
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
    /// As sizes only fall, a slot is as large as its first tenant and never grows. Of slots that are equally tight it takes the one
    /// that was wanted last before it, so that the long gaps stay for others.
    pub(super) fn of(lifetimes: &[Lifetime]) -> Self {
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
            for &tenant in tenants {
                slot[tenant] = k;
            }
        }
        Self { slot, sizes: slots.iter().map(|tenants| size(tenants)).collect() }
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
