//! Work on all cores.

use std::num::NonZero;

use crate::data::DataError;

/// Threads that work is shared out to; none where there can be none, as in a browser.
pub(crate) fn cores() -> usize {
    if cfg!(target_family = "wasm") {
        return 0;
    }
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// `make(0..count)` on all cores, in order; the error of the lowest index that has one in the first part that fails.
pub(crate) fn parallel<T: Send>(
    count: usize,
    make: impl Fn(usize) -> Result<Option<T>, DataError> + Sync,
) -> Result<Vec<Option<T>>, DataError> {
    let make = &make;
    let part = match cores() {
        0 => return (0..count).map(make).collect(),
        cores => count.div_ceil(cores).max(1),
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .step_by(part)
            .map(|first| {
                scope.spawn(move || {
                    (first..(first + part).min(count)).map(make).collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for thread in threads {
            all.extend(thread.join().map_err(|_| DataError::Stopped)??);
        }
        Ok(all)
    })
}
