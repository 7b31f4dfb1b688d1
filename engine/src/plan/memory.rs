//! Leases: a temporary takes a whole buffer from the node that writes it to the last that reads it.
//!
//! WebGPU tracks usage by whole buffer, so an arena would make every dispatch read and write the same one (invariant 4).

/// The leased buffers of a plan and who has them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    bytes: Vec<u64>,
    free: Vec<usize>,
}

impl Leases {
    /// Takes a buffer of at least `bytes`: the smallest free one that is large enough, else the largest free one, enlarged,
    /// else a new one.
    pub(super) fn take(&mut self, bytes: u64) -> usize {
        let fits = |&k: &usize| self.bytes[self.free[k]] >= bytes;
        let slots = 0..self.free.len();
        let best = slots.clone().filter(fits).min_by_key(|&k| self.bytes[self.free[k]]);
        match best.or_else(|| slots.max_by_key(|&k| self.bytes[self.free[k]])) {
            Some(k) => {
                let lease = self.free.swap_remove(k);
                self.bytes[lease] = self.bytes[lease].max(bytes);
                lease
            }
            None => {
                self.bytes.push(bytes);
                self.bytes.len() - 1
            }
        }
    }

    /// Gives buffers back.
    pub(super) fn give(&mut self, leases: impl IntoIterator<Item = usize>) {
        for lease in leases {
            debug_assert!(!self.free.contains(&lease), "lease {lease} is given back twice");
            self.free.push(lease);
        }
    }

    /// The sizes of all buffers.
    pub(super) fn sizes(&self) -> &[u64] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Leases;

    #[test]
    fn the_tightest_free_buffer_is_taken_and_the_largest_enlarged() {
        let mut leases = Leases::default();
        let (a, b) = (leases.take(100), leases.take(10));
        leases.give([a, b]);
        assert_eq!(leases.take(8), b);
        assert_eq!(leases.take(200), a);
        assert_eq!(leases.sizes(), [200, 10]);
    }
}
