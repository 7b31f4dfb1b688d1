//! Whether a rank that says nothing is at work or gone: a rank that works beats, and who waits for it hears that.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use super::link::{Channel, Link, RankError};
use crate::clock::Clock;

/// What beats come on.
const BEATS: Channel = Channel::new(0x1b02);

/// How ranks tell each other that they are at work.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// How often a rank beats.
    pub beat: Duration,
    /// How long nothing may be heard of one. Several beats: a message of a large network may hold one up.
    pub deadline: Duration,
    /// How long an answer may take of a rank that beats; then what it waits for hangs.
    pub patience: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        let [beat, deadline, patience] = [5, 60, 1800].map(Duration::from_secs);
        Self { beat, deadline, patience }
    }
}

impl Pulse {
    /// Does something, and beats for these ranks meanwhile.
    pub fn during<T>(&self, link: &dyn Link, ranks: &[usize], work: impl FnOnce() -> T) -> T {
        // Without other ranks no thread is needed, as where there are none.
        if ranks.is_empty() {
            return work();
        }
        let (working, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(|| {
                // A rank that is gone is noticed by who waits for it.
                let beat = |&rank: &usize| drop(link.send(rank, BEATS, &[]));
                let ended = ended;
                while ended.recv_timeout(self.beat) == Err(RecvTimeoutError::Timeout) {
                    ranks.iter().for_each(beat);
                }
            });
            let done = work();
            drop(working);
            done
        })
    }

    /// The next message of a rank that beats meanwhile.
    ///
    /// # Errors
    /// It is gone, nothing was heard of it for too long, or it has taken too long.
    pub fn receive(
        &self,
        link: &dyn Link,
        clock: &dyn Clock,
        from: usize,
        channel: Channel,
        patience: Option<Duration>,
    ) -> Result<Vec<u8>, RankError> {
        let look = self.beat.min(Duration::from_secs(1));
        let begun = clock.now();
        let mut heard = begun;
        loop {
            match link.receive(from, channel, look) {
                Err(RankError::Silent { .. }) => {}
                other => return other,
            }
            loop {
                match link.receive(from, BEATS, Duration::ZERO) {
                    Ok(_) => heard = clock.now(),
                    Err(RankError::Silent { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
            let [silent, waited] = [heard, begun].map(|since| clock.now() - since);
            if silent >= self.deadline {
                return Err(RankError::Silent { rank: from, waited: silent });
            }
            if patience.is_some_and(|patience| waited >= patience) {
                return Err(RankError::Silent { rank: from, waited });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, ranks::Threads};

    const ONE: Channel = Channel::new(1);

    #[test]
    fn a_rank_that_works_is_waited_for_and_one_that_says_nothing_is_not() {
        let [beat, deadline, patience] = [10, 300, 60_000].map(Duration::from_millis);
        let pulse = Pulse { beat, deadline, patience };
        let (clock, long) = (SystemClock::default(), 3 * deadline);
        let [first, other] = Threads::of(2).try_into().expect("two");
        let receive = |patience| pulse.receive(&first, &clock, 1, ONE, patience);
        thread::scope(|scope| {
            scope.spawn(|| {
                pulse.during(&other, &[0], || thread::sleep(long));
                other.send(0, ONE, b"done").expect("sent");
            });
            assert_eq!(receive(Some(patience)), Ok(b"done".to_vec()));
        });
        // It is there, and does not beat any more: what was heard before counts once.
        let silent = |waited: Duration| waited >= deadline && waited < 2 * long;
        let error = receive(Some(patience));
        assert!(
            matches!(error, Err(RankError::Silent { rank: 1, waited }) if silent(waited)),
            "{error:?}"
        );
        // It beats, and never says what it is asked for.
        thread::scope(|scope| {
            scope.spawn(|| pulse.during(&other, &[0], || thread::sleep(2 * long)));
            let error = receive(Some(long));
            assert!(
                matches!(error, Err(RankError::Silent { rank: 1, waited }) if waited >= long),
                "{error:?}"
            );
        });
        drop(other);
        assert_eq!(receive(None), Err(RankError::Gone { rank: 1 }));
    }
}
