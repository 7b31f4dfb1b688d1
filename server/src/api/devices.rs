//! `/api/devices`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Serialize;

use super::app::{App, blocking, helped};
use super::error::ApiError;
use super::extract::{Body, Nothing};
use crate::jobs::{Adapter, SelfTest};
use crate::store::Run;

/// The adapters of this machine.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Devices {
    adapters: Vec<Adapter>,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Devices>, ApiError> {
    // At most one process lists them at a time, however many clients ask.
    blocking(&app, |app| {
        let mut adapters = app.adapters.list().map_err(ApiError::unavailable)?;
        for run in app.jobs.store.read(Run::with_device)? {
            for adapter in adapters.iter_mut().filter(|adapter| run.slots.contains(&adapter.slot)) {
                adapter.busy = Some(run.id.clone());
            }
        }
        Ok(Json(Devices { adapters }))
    })
    .await
}

pub(super) async fn test(
    State(app): State<Arc<App>>,
    Path(index): Path<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<SelfTest>, ApiError> {
    helped(&app, move |app| {
        let adapters = app.adapters.list().map_err(ApiError::unavailable)?;
        let adapter = adapters.iter().find(|adapter| adapter.index.to_string() == index);
        let adapter =
            adapter.ok_or_else(|| ApiError::not_found("there is no adapter of this index"))?;
        app.adapters.test(adapter).map(Json).map_err(ApiError::unavailable)
    })
    .await
}
