//! The state machine of a run: pure, so that every crash can be tried.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Made, and not in the queue.
    Draft,
    /// Waits for its adapter.
    Queued,
    /// A process trains it.
    Running,
    /// Its process shall write a checkpoint and end; then it is paused.
    Pausing,
    /// Has no process; `resume` puts it at the head of the queue. A full disk pauses a run as well.
    Paused,
    /// Its process shall write a checkpoint and end; then it counts as ended.
    Stopping,
    /// Ended by the user with a checkpoint; can be resumed.
    Stopped,
    /// Every member is trained.
    Done,
    /// An error ended it; can be resumed from its last checkpoint.
    Failed,
    /// Ended by the user at once; cannot be resumed.
    Cancelled,
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The user puts a draft into the queue.
    Start,
    /// The user wants the adapter for something else.
    Pause,
    /// The user wants it to go on.
    Resume,
    /// The user has seen enough.
    Stop,
    /// The user wants it gone.
    Cancel,
    /// The queue gave it an adapter.
    Launch,
    /// Its process is no more.
    End(End),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its log says that all is trained.
    Done,
    /// Its log says that it stopped at a checkpoint.
    Stopped,
    /// The disk had no room for what it was to write.
    Full,
    /// Its log has an error that would occur again.
    Failed,
    /// Its log says nothing: it was killed, or the machine went down.
    Died,
    /// It died again and again without a new checkpoint.
    Hopeless,
}

/// What a process that runs shall do, as `control.json` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Want {
    /// Go on.
    Run,
    /// Write a checkpoint and end.
    Stop,
    /// End at once.
    Cancel,
}

impl State {
    /// All states.
    #[cfg(test)]
    pub(crate) const ALL: [State; 10] = [
        State::Draft,
        State::Queued,
        State::Running,
        State::Pausing,
        State::Paused,
        State::Stopping,
        State::Stopped,
        State::Done,
        State::Failed,
        State::Cancelled,
    ];

    /// The name in JSON and in the store.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Draft => "draft",
            State::Queued => "queued",
            State::Running => "running",
            State::Pausing => "pausing",
            State::Paused => "paused",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// The state of a name.
    pub(crate) fn of(name: &str) -> Option<State> {
        serde_json::from_value(name.into()).ok()
    }

    /// What a process of a run in this state shall do.
    pub(crate) fn want(self) -> Want {
        match self {
            State::Cancelled => Want::Cancel,
            State::Pausing | State::Stopping => Want::Stop,
            // A process that outlived a state it should not have had ends at its next checkpoint.
            State::Draft | State::Paused | State::Stopped => Want::Stop,
            State::Queued | State::Running | State::Done | State::Failed => Want::Run,
        }
    }

    /// The state of a run that has a process, where this was noted of it last.
    pub(crate) fn at_work(self) -> State {
        match self {
            State::Pausing | State::Stopping => self,
            _ => State::Running,
        }
    }

    /// Whether nothing will happen to it by itself.
    pub(crate) fn is_ended(self) -> bool {
        matches!(self, State::Stopped | State::Done | State::Failed | State::Cancelled)
    }

    /// Whether the data and the teacher that its configuration names are still needed.
    pub(crate) fn needs_inputs(self) -> bool {
        !matches!(self, State::Done | State::Cancelled)
    }

    /// Whether `resume` takes it up again.
    pub(crate) fn is_resumable(self) -> bool {
        next(self, Input::Resume).is_some()
    }
}

/// The state after `input`; none where the state does not allow it.
pub(crate) fn next(state: State, input: Input) -> Option<State> {
    use State::*;
    Some(match (state, input) {
        (Draft, Input::Start) => Queued,
        (Paused | Stopped | Failed, Input::Resume) => Queued,
        (Queued, Input::Launch) => Running,

        (Queued, Input::Pause) => Paused,
        (Running, Input::Pause) => Pausing,

        (Queued | Paused, Input::Stop) => Stopped,
        (Running | Pausing, Input::Stop) => Stopping,

        (Draft | Queued | Paused | Stopped | Failed, Input::Cancel) => Cancelled,
        (Running | Pausing | Stopping, Input::Cancel) => Cancelled,

        // A user's cancel stands, whatever its process still came to.
        (Cancelled, Input::End(_)) => Cancelled,
        (Running | Pausing | Stopping, Input::End(End::Done)) => Done,
        (Running | Pausing | Stopping, Input::End(End::Failed)) => Failed,
        // Nobody asked for it through the server: a shutdown, or a signal of someone else. It goes on.
        (Running, Input::End(End::Stopped | End::Died)) => Queued,
        (Running, Input::End(End::Hopeless)) => Failed,
        // It would only fill the disk again; somebody must make room first.
        (Running, Input::End(End::Full)) => Paused,
        // Its last checkpoint is there, which is all that a pause or a stop promises.
        (Pausing, Input::End(_)) => Paused,
        (Stopping, Input::End(_)) => Stopped,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: [End; 6] =
        [End::Done, End::Stopped, End::Full, End::Failed, End::Died, End::Hopeless];

    #[test]
    fn names_are_those_of_json() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).expect("JSON"), state.name());
            assert_eq!(State::of(state.name()), Some(state));
        }
    }

    #[test]
    fn a_state_with_a_process_takes_every_end() {
        for state in [State::Running, State::Pausing, State::Stopping, State::Cancelled] {
            for end in ENDS {
                let after = next(state, Input::End(end)).expect("an end is never refused");
                let alive = [State::Running, State::Pausing, State::Stopping];
                assert!(!alive.contains(&after), "{state:?} {end:?}");
            }
        }
    }

    #[test]
    fn cancelled_and_done_are_final() {
        for state in [State::Cancelled, State::Done] {
            for input in [
                Input::Start,
                Input::Pause,
                Input::Resume,
                Input::Stop,
                Input::Cancel,
                Input::Launch,
            ] {
                assert_eq!(next(state, input), None, "{state:?} {input:?}");
            }
        }
    }

    #[test]
    fn whatever_is_not_ended_can_be_cancelled() {
        for state in State::ALL.into_iter().filter(|state| !state.is_ended()) {
            assert_eq!(next(state, Input::Cancel), Some(State::Cancelled), "{state:?}");
        }
    }
}
