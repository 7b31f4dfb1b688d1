//! How fast a body has to come. Who sends a part of one and then nothing would hold its connection for ever.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use http_body_util::LengthLimitError;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::connections::Connection;
use super::error::ApiError;

/// The least rate of a body: so many bytes while it is waited for so long. What the server itself takes its time for does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) bytes: u64,
    pub(super) within: Duration,
}

impl Pace {
    /// All of a body within `time`.
    pub(super) const fn whole(time: Duration) -> Pace {
        Pace { bytes: u64::MAX, within: time }
    }

    fn is_whole(self) -> bool {
        self.bytes == u64::MAX
    }
}

/// What the bodies of requests are granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paces {
    /// JSON.
    pub(super) small: Pace,
    /// An upload, whose size is another for each.
    pub(super) upload: Pace,
}

impl Default for Paces {
    fn default() -> Self {
        let small = Pace::whole(Duration::from_secs(10));
        Paces { small, upload: Pace { bytes: 1 << 20, within: Duration::from_secs(64) } }
    }
}

/// A body came more slowly than its [`Pace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body comes too slowly: {}", said(.0))]
struct Late(Pace);

fn said(pace: &Pace) -> String {
    let seconds = pace.within.as_secs_f64();
    match pace.is_whole() {
        true => format!("it must be there in {seconds} s"),
        false => format!("at least {} KiB must come in each {seconds} s", pace.bytes >> 10),
    }
}

/// A body that ends by an error where it comes too slowly, and tells its connection's place when it is there.
pub(super) struct Paced {
    body: Body,
    pace: Pace,
    connection: Option<Arc<Connection>>,
    /// Bytes that came in this stretch of waiting, and what is left of its time.
    come: u64,
    left: Duration,
    /// Since when it is waited for, and until when it is.
    waits: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Paced {
    pub(super) fn new(body: Body, pace: Pace, connection: Option<Arc<Connection>>) -> Paced {
        let paced = Paced { body, pace, connection, come: 0, left: pace.within, waits: None };
        // What comes at a rate of its own is worth its place from the start.
        if paced.body.is_end_stream() || !pace.is_whole() {
            paced.there();
        }
        paced
    }

    fn there(&self) {
        if let Some(connection) = &self.connection {
            connection.set_busy(true);
        }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            let left = self.left;
            let (_, end) =
                self.waits.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
            ready!(end.as_mut().poll(context));
            return Poll::Ready(Some(Err(Late(self.pace).into())));
        };
        if let Some((since, _)) = self.waits.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => 0,
        };
        self.come = self.come.saturating_add(bytes as u64);
        if self.come >= self.pace.bytes {
            (self.come, self.left) = (0, self.pace.within);
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.there();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The refusal of a body that did not come whole: too large, too slow, or cut off. `what` is what it is called, as `the body`.
pub(super) fn refusal(error: &(dyn std::error::Error + 'static), what: &str, cap: u64) -> ApiError {
    let causes = || std::iter::successors(Some(error), |error| error.source());
    if causes().any(|cause| cause.is::<LengthLimitError>()) {
        return ApiError::too_large(format!("{what} may have {cap} bytes"));
    }
    match causes().find_map(|cause| cause.downcast_ref::<Late>()) {
        Some(Late(pace)) => ApiError::timeout(format!("{what} comes too slowly: {}", said(pace))),
        None => ApiError::bad_request(format!("{what} was cut off")),
    }
}
