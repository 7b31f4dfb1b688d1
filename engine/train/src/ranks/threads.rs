//! Ranks that are threads of one process.

use std::{sync::Arc, time::Duration};

use super::{
    inbox::Inbox,
    link::{Channel, Link, RankError},
};

/// A rank that is a thread. When it is dropped, the others are told that it is gone.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    inboxes: Arc<[Inbox]>,
}

impl Threads {
    /// So many ranks, for a thread each.
    pub fn of(count: usize) -> Vec<Self> {
        let inboxes: Arc<[Inbox]> = (0..count).map(|_| Inbox::default()).collect();
        (0..count).map(|rank| Self { rank, inboxes: Arc::clone(&inboxes) }).collect()
    }
}

impl Link for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// All are on one, which needs no name.
    fn host(&self) -> &str {
        "here"
    }

    fn send(&self, to: usize, channel: Channel, bytes: &[u8]) -> Result<(), RankError> {
        if let Some(why) = self.inboxes[self.rank].ended(to) {
            return Err(why);
        }
        self.inboxes[to].put(self.rank, channel, bytes.to_vec());
        Ok(())
    }

    fn receive(
        &self,
        from: usize,
        channel: Channel,
        patience: Duration,
    ) -> Result<Vec<u8>, RankError> {
        self.inboxes[self.rank].receive(from, channel, patience)
    }

    fn poll(&self, channel: Channel) -> Result<Option<(usize, Vec<u8>)>, RankError> {
        self.inboxes[self.rank].poll(channel)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for rank in (0..self.inboxes.len()).filter(|rank| *rank != self.rank) {
            self.inboxes[rank].end(self.rank, RankError::Gone { rank: self.rank });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const ONE: Channel = Channel::new(1);
    const OTHER: Channel = Channel::new(2);
    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn messages_keep_their_order_and_their_channel() {
        let [a, b] = Threads::of(2).try_into().expect("two");
        for (channel, word) in [(ONE, "x"), (OTHER, "y"), (ONE, "z")] {
            a.send(1, channel, word.as_bytes()).expect("sent");
        }
        assert_eq!(b.receive(0, OTHER, SOON), Ok(b"y".to_vec()));
        assert_eq!(b.poll(ONE), Ok(Some((0, b"x".to_vec()))));
        assert_eq!(b.receive(0, ONE, SOON), Ok(b"z".to_vec()));
        assert_eq!(b.poll(ONE), Ok(None));
        let silent = RankError::Silent { rank: 0, waited: SOON };
        assert_eq!(b.receive(0, ONE, SOON), Err(silent));
    }

    #[test]
    fn who_waits_is_woken_by_a_message_and_by_an_end() {
        let [a, b] = Threads::of(2).try_into().expect("two");
        let long = Duration::from_secs(60);
        thread::scope(|scope| {
            let waits = scope.spawn(|| [b.receive(0, ONE, long), b.receive(0, ONE, long)]);
            a.send(1, ONE, b"last").expect("sent");
            drop(a);
            let gone = RankError::Gone { rank: 0 };
            assert_eq!(waits.join().expect("no panic"), [Ok(b"last".to_vec()), Err(gone.clone())]);
            assert_eq!(b.poll(ONE), Err(gone.clone()));
            assert_eq!(b.send(0, ONE, b""), Err(gone));
        });
    }
}
