//! Connections: how many there may be, and how long one may take to say what it wants.
//!
//! axum's own `serve` waits for headers as long as a client likes, so that anybody on the network could hold every connection there can be.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

/// What clients are granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grants {
    /// Connections at the same time.
    connections: usize,
    /// Those of one address, or network of version 6. This machine's own may have all: a proxy on it speaks for many.
    each: usize,
    /// How long headers may take, and how long a connection may stay without a request.
    headers: Duration,
}

impl Default for Grants {
    fn default() -> Self {
        Grants { connections: 512, each: 64, headers: Duration::from_secs(30) }
    }
}

/// Whom an address speaks for: who has one address of version 6 has the others of its network as well.
pub(super) fn network(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64 | 1 << 63,
    }
}

/// Who is connected.
#[derive(Debug)]
struct Seats {
    grants: Grants,
    /// Connections by [`network`].
    taken: Mutex<HashMap<u64, usize>>,
}

/// A connection that counts as long as this lives.
#[derive(Debug)]
struct Seat {
    seats: Arc<Seats>,
    whose: u64,
}

impl Seats {
    /// None where there is no room, or not for this address.
    fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let peer = peer.to_canonical();
        let whose = network(peer);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&whose).copied().unwrap_or(0);
        let most = if peer.is_loopback() { self.grants.connections } else { self.grants.each };
        if all >= self.grants.connections || own >= most {
            // Nothing is remembered of who is refused: addresses cost an attacker nothing.
            return None;
        }
        taken.insert(whose, own + 1);
        Some(Seat { seats: Arc::clone(self), whose })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.whose) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.whose);
            }
        }
    }
}

/// Serves `router` until `end` comes, then waits for the requests that are under way.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    grants: Grants,
    end: impl Future<Output = ()>,
) {
    let mut end = pin!(end);
    let graceful = GracefulShutdown::new();
    let seats = Arc::new(Seats { grants, taken: Mutex::default() });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        match accepted {
            // One too many is closed without a word, which costs nothing.
            Ok((stream, peer)) => {
                if let Some(seat) = seats.take(peer.ip()) {
                    connect(stream, peer, &router, &graceful, seat);
                }
            }
            // Of a client that is gone already, or as there are too many open files: then it may help to wait.
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    graceful.shutdown().await;
}

/// Serves a connection in a task of its own.
fn connect(
    stream: TcpStream,
    peer: SocketAddr,
    router: &Router,
    graceful: &GracefulShutdown,
    seat: Seat,
) {
    // Events are short, and nobody wants to wait until more of them fill a packet; where that cannot be had, they come a little later.
    drop(stream.set_nodelay(true));
    let router = router.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let router = router.clone();
        async move { router.oneshot(request).await.map_err(|never: Infallible| never) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(seat.seats.grants.headers)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, %peer, "a connection ended");
        }
        drop(seat);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const GRANTS: Grants = Grants { connections: 5, each: 2, headers: Duration::from_millis(300) };

    #[test]
    fn an_address_has_its_share_and_this_machine_all() {
        let seats = Arc::new(Seats { grants: GRANTS, taken: Mutex::default() });
        let [one, two, own] = [[10, 0, 0, 1], [10, 0, 0, 2], [127, 0, 0, 1]].map(IpAddr::from);
        let mut held: Vec<Seat> =
            [one, one, own, own].iter().filter_map(|&a| seats.take(a)).collect();
        assert_eq!(held.len(), 4);
        assert!(seats.take(one).is_none(), "more than its share");
        held.extend(seats.take(two));
        assert_eq!(held.len(), 5);
        assert!(seats.take(own).is_none() && seats.take(two).is_none(), "more than there are");
        assert!(seats.take(IpAddr::from([10, 0, 0, 3])).is_none(), "nor for another address");
        // The addresses of a version 6 network are one.
        held.clear();
        let six = |last: u16| IpAddr::from([0xfd00, 0, 0, 7, 0, 0, 0, last]);
        held.extend([1, 2, 3].into_iter().filter_map(|last| seats.take(six(last))));
        assert_eq!(held.len(), 2);
        held.clear();
        assert!(seats.taken.lock().expect("whole").is_empty());
        assert!(seats.take(one).is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_does_not_say_what_it_wants_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route(
            "/",
            get(|info: ConnectInfo<SocketAddr>| async move { info.0.ip().to_string() }),
        );
        let (close, closed) = tokio::sync::oneshot::channel::<()>();
        let server =
            tokio::spawn(serve(listener, router, GRANTS, async move { drop(closed.await) }));
        let connect = || async { TcpStream::connect(address).await.expect("accepted") };

        // Part of a request, on every connection that there may be.
        let mut slow = Vec::new();
        for _ in 0..GRANTS.connections {
            let mut stream = connect().await;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.expect("written");
            slow.push(stream);
        }
        let mut said = Vec::new();
        connect().await.read_to_end(&mut said).await.ok();
        assert!(said.is_empty(), "one too many is not heard");
        for mut stream in slow {
            // hyper may say that it waited in vain, or nothing.
            let mut said = Vec::new();
            let closed =
                tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut said));
            assert!(closed.await.is_ok(), "a slow client is left");
            assert!(!said.starts_with(b"HTTP/1.1 200"));
        }
        // Those that ask are served, and a request under way is ended in order.
        let mut stream = connect().await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .expect("written");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("an answer");
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("127.0.0.1"), "{said}");
        drop(close);
        server.await.expect("ended");
    }
}
