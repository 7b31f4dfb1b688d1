//! What a run says of its models, for the card of one that is exported.

use std::collections::BTreeMap;
use std::path::Path;

use crate::event::{self, Event};
use crate::formats::{FormatError, card::Beside};

/// The trained members and teachers of the run that the model folder lies in, in the order of their names; none where it lies in no run.
///
/// # Errors
/// The run's log cannot be read.
pub fn beside(folder: &Path) -> Result<Vec<Beside>, FormatError> {
    let folder = std::path::absolute(folder).map_err(|error| FormatError::read(folder, error))?;
    // RUN, RUN/artifacts, RUN/teachers/SEED, RUN/members/NAME, RUN/members/NAME/artifacts.
    let logs = folder.ancestors().take(4).map(|path| path.join("events.jsonl"));
    let Some(log) = logs.into_iter().find(|path| path.is_file()) else { return Ok(Vec::new()) };
    let mut found = BTreeMap::new();
    for entry in event::read(&log)? {
        if let Event::MemberFinished {
            member,
            method,
            seed,
            accuracy,
            answers,
            epochs,
            params,
            macs,
            ..
        } = entry.event
        {
            let accuracy = answers.map_or(accuracy, |answers| answers.em);
            let name = member.clone();
            // What lies in the folders of members is for who looks there.
            let (bytes, latency) = (None, String::new());
            let beside =
                Beside { name, method, seed, accuracy, params, macs, epochs, bytes, latency };
            found.insert(member, beside);
        }
    }
    Ok(found.into_values().collect())
}
