//! What joins ranks, whatever carries their messages.

use std::{fmt::Debug, time::Duration};

use thiserror::Error;

/// What a message is about, so that who waits for one thing is not handed another; at most [`Self::LAST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(u16);

impl Channel {
    /// The last one: MPI's tags reach at least to 32767, and one bit says of what carries messages whether more of one follows.
    pub const LAST: Channel = Channel(0x3fff);

    /// The channel of a number.
    ///
    /// # Panics
    /// It is beyond [`Self::LAST`].
    pub const fn new(number: u16) -> Self {
        assert!(number <= Self::LAST.0, "there are no more channels");
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// One rank's end of what joins it to the others. Threads may share it.
pub trait Link: Debug + Send + Sync {
    /// Its number, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn count(&self) -> usize;

    /// The machine that it is on, by name.
    fn host(&self) -> &str;

    /// Sends a message to another rank. It may return before that has come, and `bytes` may be changed then.
    ///
    /// # Errors
    /// The other rank is gone, or does not take it in time.
    fn send(&self, to: usize, channel: Channel, bytes: &[u8]) -> Result<(), RankError>;

    /// The next message of `from` on a channel. It waits for at most `patience`, and leaves the processor to others meanwhile. With
    /// [`Duration::MAX`] it waits as long as the other rank lives.
    ///
    /// # Errors
    /// The other rank is gone, or none came in time: [`RankError::Silent`].
    fn receive(
        &self,
        from: usize,
        channel: Channel,
        patience: Duration,
    ) -> Result<Vec<u8>, RankError>;

    /// A message that has come on a channel, and from whom, without waiting: of those of one rank the first.
    ///
    /// # Errors
    /// A rank is gone.
    fn poll(&self, channel: Channel) -> Result<Option<(usize, Vec<u8>)>, RankError>;
}

/// Why ranks do not work together.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum RankError {
    /// Nothing was heard of a rank for too long: it hangs, or the network between them is cut.
    #[error("rank {rank} has not answered for {} s: it hangs, or the network to it is cut", .waited.as_secs())]
    Silent {
        /// Which one.
        rank: usize,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A rank has ended.
    #[error("rank {rank} is gone")]
    Gone {
        /// Which one.
        rank: usize,
    },
    /// A rank cannot go on, and says why.
    #[error("rank {rank} on {host}: {problem}")]
    Failed {
        /// Which one.
        rank: usize,
        /// The machine that it is on.
        host: String,
        /// Why, as a sentence.
        problem: String,
    },
    /// A rank says something that it should not.
    #[error("rank {rank} {problem}")]
    Wrong {
        /// Which one.
        rank: usize,
        /// What is wrong, as the end of a sentence.
        problem: String,
    },
    /// What carries the messages refuses.
    #[error("{0}")]
    Carrier(String),
}
