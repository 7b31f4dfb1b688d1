//! What the handlers share, and how they wait for disks and processes.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::discretion::Discretion;
use super::error::ApiError;
use super::examiner::Examiner;
use super::guard::Guard;
use crate::datasets::Datasets;
use crate::jobs::{Adapters, Jobs};
use crate::store::Run;
use crate::teachers::Teachers;

/// Streams of events that are open at the same time.
pub(super) const STREAMS: usize = 64;
/// Pre-flights and other processes that requests may start at the same time; uploads that are unpacked are not among them.
pub(super) const HELPERS: usize = 2;

/// What the handlers share.
pub(super) struct App {
    pub(super) jobs: Arc<Jobs>,
    pub(super) adapters: Arc<Adapters>,
    pub(super) datasets: Arc<Datasets>,
    pub(super) teachers: Teachers,
    pub(super) guard: Guard,
    /// Looks at a configuration before it is accepted.
    pub(super) examiner: Box<dyn Examiner>,
    pub(super) discretion: Discretion,
    pub(super) data_dir: PathBuf,
    pub(super) streams: Arc<Semaphore>,
    pub(super) helpers: Arc<Semaphore>,
    pub(super) document: serde_json::Value,
}

impl App {
    /// The run of an id.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn run(&self, id: &str) -> Result<Run, ApiError> {
        let run = self.jobs.store.read(|db| Run::find(db, id))?;
        run.ok_or_else(|| ApiError::not_found(format!("there is no run `{}`", id.escape_debug())))
    }
}

/// Runs what waits for the disk or for a process where waiting is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || work(&app))
        .await
        .unwrap_or_else(|error| Err(ApiError::internal(format!("a handler gave up: {error}"))))
}

/// [`blocking`] work that starts a process: only so many at a time, others wait. The work holds its permit and its process: a client that
/// hangs up only stops waiting for it.
pub(super) async fn helped<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let closed = |_| ApiError::unavailable("the server goes down");
    let permit = Arc::clone(&app.helpers).acquire_owned().await.map_err(closed)?;
    blocking(app, move |app| {
        let _permit = permit;
        work(app)
    })
    .await
}

/// [`helped`] for work that only this client needs: the work learns whether the client still waits, and stops if it does not.
pub(super) async fn helped_while<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App, &dyn Fn() -> bool) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    // Dropped with this future, which a client that hangs up ends.
    let client = Arc::new(());
    let waits = Arc::downgrade(&client);
    helped(app, move |app| work(app, &|| waits.strong_count() > 0)).await
}
