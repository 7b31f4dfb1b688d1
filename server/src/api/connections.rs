//! Connections: how many there may be, which one is closed to admit a new one, and how long a client may take to send a request and to read the answer.
//!
//! axum's own `serve` waits for headers, bodies and readers as long as a client likes, so that anybody on the network could hold every
//! connection there can be. Here a place is kept by who has shown the token and is served. Those that the server still waits for have to
//! go when somebody else comes: first who has shown nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};
use tower::ServiceExt as _;

/// What clients are granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grants {
    /// Connections at the same time.
    pub(super) connections: usize,
    /// Those of one address, or network of version 6. This machine's own may have all: a proxy on it speaks for many.
    pub(super) each: usize,
    /// How long headers may take, and how long a connection may stay without a request.
    pub(super) headers: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub(super) unread: Duration,
}

impl Default for Grants {
    fn default() -> Self {
        let [headers, unread] = [Duration::from_secs(30); 2];
        Grants { connections: 512, each: 64, headers, unread }
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
struct Connections {
    grants: Grants,
    /// Who came first stands first.
    taken: Mutex<Vec<Arc<Connection>>>,
}

/// A connection, as those that share the server know it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its [`network`].
    whose: u64,
    /// Whether it has shown that it may use the server.
    known: AtomicBool,
    /// Whether a request is there in whole, and its answer under way.
    busy: AtomicBool,
    /// Notified when the server closes the connection.
    leave: Notify,
}

impl Connection {
    fn new(whose: u64) -> Connection {
        let (known, busy) = (AtomicBool::new(false), AtomicBool::new(false));
        Connection { whose, known, busy, leave: Notify::new() }
    }

    /// Its client may use the server.
    pub(super) fn set_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Whether the server works for it, or waits for it.
    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    fn is_stranger(&self) -> bool {
        !self.known.load(Ordering::Relaxed)
    }

    fn waits(&self) -> bool {
        !self.busy.load(Ordering::Relaxed)
    }
}

/// A place that is taken as long as this lives.
#[derive(Debug)]
struct Seat {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Connections {
    fn new(grants: Grants) -> Arc<Connections> {
        Arc::new(Connections { grants, taken: Mutex::default() })
    }

    /// A place for a newcomer; where there is none, that of somebody else. None where all are at work, or all that this address may have.
    fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let Grants { connections, each, .. } = self.grants;
        let peer = peer.to_canonical();
        let whose = network(peer);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.iter().filter(|connection| connection.whose == whose).count();
        let most = if peer.is_loopback() { connections } else { each };
        if own >= most || taken.len() >= connections {
            let goes = goes(&taken, (own >= most).then_some(whose))?;
            taken.remove(goes).leave.notify_one();
        }
        let connection = Arc::new(Connection::new(whose));
        taken.push(Arc::clone(&connection));
        Some(Seat { connections: Arc::clone(self), connection })
    }
}

/// Who has to go for a newcomer, of all or of one network: the first of those who have shown nothing, of the network that has most of them;
/// else the first that the server waits for.
fn goes(taken: &[Arc<Connection>], network: Option<u64>) -> Option<usize> {
    let among = || {
        let all = taken.iter().enumerate();
        all.filter(|(_, connection)| network.is_none_or(|network| network == connection.whose))
    };
    let mut crowds: HashMap<u64, usize> = HashMap::new();
    let strangers = || among().filter(|(_, connection)| connection.is_stranger());
    strangers().for_each(|(_, connection)| *crowds.entry(connection.whose).or_default() += 1);
    // Of equals the last is taken, so the first that came stands last.
    let mut from_last = strangers().collect::<Vec<_>>();
    from_last.reverse();
    let stranger = from_last.into_iter().max_by_key(|(_, connection)| crowds[&connection.whose]);
    stranger.or_else(|| among().find(|(_, connection)| connection.waits())).map(|(at, _)| at)
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.connections.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|connection| !Arc::ptr_eq(connection, &self.connection));
    }
}

/// A stream that ends by an error when nothing can be written for too long: its client does not read.
struct Patient<S> {
    stream: S,
    unread: Duration,
    /// When the client will have taken nothing for so long.
    end: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.end = None;
            return done;
        }
        let unread = self.unread;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(unread)));
        ready!(end.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of an answer. When it is sent, or will never be, its place waits for the next request.
struct Answer {
    body: Body,
    connection: Arc<Connection>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.set_busy(false);
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
    let connections = Connections::new(grants);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        match accepted {
            // Where everybody is at work, one too many is closed without a word, which costs nothing.
            Ok((stream, peer)) => {
                if let Some(seat) = connections.take(peer.ip()) {
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
    // Without Nagle's algorithm short events are sent at once. Where it cannot be switched off, they arrive a little later.
    drop(stream.set_nodelay(true));
    let Grants { headers, unread, .. } = seat.connections.grants;
    let (router, connection) = (router.clone(), Arc::clone(&seat.connection));
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Arc::clone(&connection));
        let (router, connection) = (router.clone(), Arc::clone(&connection));
        async move {
            let answered = router.oneshot(request).await;
            answered
                .map(|answer: Response<Body>| answer.map(|body| Answer { body, connection }))
                .map_err(|never: Infallible| never)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(headers)
        .serve_connection(TokioIo::new(Patient { stream, unread, end: None }), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "a connection ended");
                }
            }
            () = seat.connection.leave.notified() => tracing::debug!(%peer, "a connection had to go"),
        }
        drop(seat);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const GRANTS: Grants = Grants {
        connections: 5,
        each: 2,
        headers: Duration::from_millis(300),
        unread: Duration::from_millis(300),
    };

    const fn address(last: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, last))
    }

    /// Those of `seats` that had to go.
    fn gone(seats: &[Seat]) -> Vec<usize> {
        let taken = seats[0].connections.taken.lock().expect("whole");
        let has =
            |seat: &Seat| taken.iter().any(|connection| Arc::ptr_eq(connection, &seat.connection));
        seats.iter().enumerate().filter(|(_, seat)| !has(seat)).map(|(at, _)| at).collect()
    }

    #[test]
    fn strangers_make_room_for_others_and_their_own_first() {
        let connections = Connections::new(GRANTS);
        let own = IpAddr::from([127, 0, 0, 1]);
        let of = [own, address(1), address(1), own, address(2)];
        let mut seats: Vec<Seat> = of.iter().filter_map(|&peer| connections.take(peer)).collect();
        assert_eq!(gone(&seats), [0; 0]);
        // More than its share: its own first one goes.
        seats.extend(connections.take(address(1)));
        assert_eq!(gone(&seats), [1]);
        // More than there are: one of those that have most, and the first of them.
        seats.extend(connections.take(address(3)));
        assert_eq!(gone(&seats), [0, 1]);
        // An address of version 6 speaks for its network.
        let six = |last: u16| IpAddr::from([0xfd00, 0, 0, 7, 0, 0, 0, last]);
        seats.clear();
        seats.extend([1, 2, 3].into_iter().filter_map(|last| connections.take(six(last))));
        assert_eq!(gone(&seats), [0]);
        seats.clear();
        assert!(connections.taken.lock().expect("whole").is_empty());
    }

    #[test]
    fn who_is_known_goes_last_and_who_is_served_never() {
        let connections = Connections::new(GRANTS);
        let mut seats: Vec<Seat> =
            (1..=5).filter_map(|last| connections.take(address(last))).collect();
        let known = |seat: &Seat| seat.connection.set_known();
        seats[..4].iter().for_each(known);
        seats[0].connection.set_busy(true);
        // A stranger at work is one all the same.
        seats[4].connection.set_busy(true);
        seats.extend(connections.take(address(6)));
        assert_eq!(gone(&seats), [4]);
        known(&seats[5]);
        seats[5].connection.set_busy(true);
        seats.extend(connections.take(address(7)));
        assert_eq!(gone(&seats), [1, 4], "the first known one that is waited for");
        seats.iter().for_each(|seat| {
            known(seat);
            seat.connection.set_busy(true);
        });
        assert!(connections.take(address(8)).is_none(), "all are at work");
        seats[0].connection.set_busy(false);
        assert!(connections.take(address(8)).is_some());
    }

    /// Serves `router` at a free port of this machine, as long as the sender is there.
    async fn served(router: Router) -> (SocketAddr, tokio::sync::oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (close, closed) = tokio::sync::oneshot::channel();
        tokio::spawn(serve(listener, router, GRANTS, async move { drop(closed.await) }));
        (address, close)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_does_not_read_is_left() {
        use axum::response::sse::{Event, KeepAlive, Sse};
        /// Tells that its stream is dropped.
        struct Alive(tokio::sync::mpsc::UnboundedSender<&'static str>, &'static str);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.send(self.1).ok();
            }
        }
        let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let [file, events] = ["/file", "/events"].map(|name| {
            let told = told.clone();
            move || Alive(told.clone(), name)
        });
        let file = move || {
            let alive = file();
            let more = std::iter::repeat_with(move || {
                let _ = &alive;
                Ok::<_, io::Error>(vec![7u8; 1 << 16])
            });
            async move { Body::from_stream(tokio_stream::iter(more)) }
        };
        let events = move || {
            let alive = events();
            let more = std::iter::repeat_with(move || {
                let _ = &alive;
                Ok::<_, Infallible>(Event::default().data("x".repeat(1 << 12)))
            });
            let sse = Sse::new(tokio_stream::iter(more));
            async move { sse.keep_alive(KeepAlive::new()) }
        };
        let router = Router::new().route("/file", get(file)).route("/events", get(events));
        let (address, _close) = served(router).await;
        let mut held = Vec::new();
        for path in ["/file", "/events"] {
            let mut stream = TcpStream::connect(address).await.expect("accepted");
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("written");
            held.push(stream);
        }
        let mut names = Vec::new();
        for _ in 0..2 {
            let name = tokio::time::timeout(Duration::from_secs(20), ended.recv()).await;
            names.extend(name.expect("a reader that does not read is waited for"));
        }
        names.sort_unstable();
        assert_eq!(names, ["/events", "/file"]);
        // Who reads gets more than any buffer holds, however long it takes.
        let mut stream = TcpStream::connect(address).await.expect("accepted");
        stream.write_all(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..16 {
            stream.read_exact(&mut buffer).await.expect("more");
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
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
        for mut stream in slow {
            // hyper may answer that the request timed out, or answer nothing.
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
