//! Ranks that are threads of one process.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::link::{Channel, Link, RankError};

/// What was sent to a rank and not taken yet.
#[derive(Debug, Default)]
struct Inbox {
    /// By channel and sender.
    messages: BTreeMap<(Channel, usize), VecDeque<Vec<u8>>>,
    /// The ranks that have ended.
    gone: Vec<usize>,
}

/// A rank that is a thread. When it is dropped, the others are told that it is gone.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    inboxes: Arc<[(Mutex<Inbox>, Condvar)]>,
}

impl Threads {
    /// So many ranks, for a thread each.
    pub fn of(count: usize) -> Vec<Self> {
        let inboxes: Arc<[(Mutex<Inbox>, Condvar)]> =
            (0..count).map(|_| Default::default()).collect();
        (0..count).map(|rank| Self { rank, inboxes: Arc::clone(&inboxes) }).collect()
    }

    /// Does something to what a rank has been sent, and wakes it.
    fn at(&self, rank: usize, work: impl FnOnce(&mut Inbox)) {
        let (inbox, changed) = &self.inboxes[rank];
        work(&mut inbox.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }
}

impl Link for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.inboxes.len()
    }

    fn send(&self, to: usize, channel: Channel, bytes: &[u8]) -> Result<(), RankError> {
        let mine = &self.inboxes[self.rank].0;
        if mine.lock().unwrap_or_else(PoisonError::into_inner).gone.contains(&to) {
            return Err(RankError::Gone { rank: to });
        }
        let key = (channel, self.rank);
        self.at(to, |inbox| inbox.messages.entry(key).or_default().push_back(bytes.to_vec()));
        Ok(())
    }

    fn receive(
        &self,
        from: usize,
        channel: Channel,
        patience: Duration,
    ) -> Result<Vec<u8>, RankError> {
        let (inbox, changed) = &self.inboxes[self.rank];
        let inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (channel, from);
        let nothing = |inbox: &mut Inbox| {
            inbox.messages.get(&key).is_none_or(VecDeque::is_empty) && !inbox.gone.contains(&from)
        };
        let waited = changed.wait_timeout_while(inbox, patience, nothing);
        let mut inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        match inbox.messages.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(bytes) => Ok(bytes),
            None if inbox.gone.contains(&from) => Err(RankError::Gone { rank: from }),
            None => Err(RankError::Silent { rank: from, waited: patience }),
        }
    }

    fn poll(&self, channel: Channel) -> Result<Option<(usize, Vec<u8>)>, RankError> {
        let mut inbox = self.inboxes[self.rank].0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_channel = inbox.messages.iter_mut().filter(|((other, _), _)| *other == channel);
        for ((_, from), messages) in of_channel {
            if let Some(bytes) = messages.pop_front() {
                return Ok(Some((*from, bytes)));
            }
        }
        inbox.gone.first().map_or(Ok(None), |&rank| Err(RankError::Gone { rank }))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for rank in (0..self.inboxes.len()).filter(|rank| *rank != self.rank) {
            self.at(rank, |inbox| inbox.gone.push(self.rank));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const ONE: Channel = Channel(1);
    const OTHER: Channel = Channel(2);
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
