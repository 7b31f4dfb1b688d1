//! What has come for a rank and was not taken yet.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::link::{Channel, RankError};

/// The messages for one rank. Threads may share it.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By channel and sender.
    messages: BTreeMap<(Channel, usize), VecDeque<Vec<u8>>>,
    /// The ranks of which nothing more will come, and why.
    ended: BTreeMap<usize, RankError>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message has come.
    pub(super) fn put(&self, from: usize, channel: Channel, bytes: Vec<u8>) {
        self.lock().messages.entry((channel, from)).or_default().push_back(bytes);
        self.changed.notify_all();
    }

    /// Nothing more comes from a rank; the first reason is kept.
    pub(super) fn end(&self, from: usize, why: RankError) {
        self.lock().ended.entry(from).or_insert(why);
        self.changed.notify_all();
    }

    /// Why nothing more comes from a rank, if that is so.
    pub(super) fn ended(&self, from: usize) -> Option<RankError> {
        self.lock().ended.get(&from).cloned()
    }

    /// See [`super::Link::receive`].
    pub(super) fn receive(
        &self,
        from: usize,
        channel: Channel,
        patience: Duration,
    ) -> Result<Vec<u8>, RankError> {
        let key = (channel, from);
        let nothing = |state: &mut State| {
            state.messages.get(&key).is_none_or(VecDeque::is_empty)
                && !state.ended.contains_key(&from)
        };
        let waited = self.changed.wait_timeout_while(self.lock(), patience, nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match state.messages.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(bytes) => Ok(bytes),
            None => Err(state
                .ended
                .get(&from)
                .cloned()
                .unwrap_or(RankError::Silent { rank: from, waited: patience })),
        }
    }

    /// See [`super::Link::poll`].
    pub(super) fn poll(&self, channel: Channel) -> Result<Option<(usize, Vec<u8>)>, RankError> {
        let mut state = self.lock();
        let of_channel = state.messages.iter_mut().filter(|((other, _), _)| *other == channel);
        for ((_, from), messages) in of_channel {
            if let Some(bytes) = messages.pop_front() {
                return Ok(Some((*from, bytes)));
            }
        }
        state.ended.values().next().map_or(Ok(None), |why| Err(why.clone()))
    }
}
