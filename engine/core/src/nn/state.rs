//! What a block hands to the next one.

/// The state between two blocks: the network's own, and, while a pair stands between them, what the pair makes of it. Linear maps at the
/// beginning of the next block read [`State::linear`], into which a merge folds the pair; everything else there, as a shortcut that is the
/// identity, reads `h`, which a merge leaves as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<T> {
    /// The network's own state.
    pub h: T,
    /// What the pair makes of it.
    pub lifted: Option<T>,
}

impl<T> State<T> {
    /// A state behind which no pair stands.
    pub fn of(h: T) -> Self {
        Self { h, lifted: None }
    }

    /// What linear maps read.
    pub fn linear(self) -> T {
        self.lifted.unwrap_or(self.h)
    }
}
