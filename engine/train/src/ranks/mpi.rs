//! Ranks that are processes, joined by MPI, whose library is opened at run time.
//!
//! A thread of its own makes all calls. It never waits inside of one: it starts sends and receives, asks whether they are done, and naps in
//! between, so that it leaves the processor to who computes. It also tells rank 0 that its process lives, whatever that is busy with, and
//! notices when a process is not heard of any more: MPI itself may then wait for ever.

#![allow(
    unsafe_code,
    reason = "MPI is a library of C functions that is opened at run time; `Library` has the safety argument"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    ffi::{OsStr, c_char, c_int, c_void},
    fmt::Debug,
    fs,
    os::unix::process::parent_id,
    path::PathBuf,
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use libloading::os::unix::{self as dl, RTLD_GLOBAL, RTLD_NOW};

use super::{
    inbox::Inbox,
    launcher::{Family, Launched},
    link::{Channel, Link, RankError},
};

/// The variable that names the library, where it is not found or another one is wanted.
const LIBRARY: &str = "TAPER_MPI";

/// On which ranks say that they live; its messages are empty.
const PULSE: Channel = Channel::new(0);
/// How often they do.
const BEAT: Duration = Duration::from_secs(2);
/// How long a rank may be silent. Its thread needs no more than a slice of a processor every [`BEAT`], whatever else its machine does;
/// a connection that was broken for less is mended by TCP, with nothing lost.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the ends of all ranks may take, once each has been told.
const END: Duration = Duration::from_secs(10);

/// Naps of the thread: the first after something has happened, and the longest. One is over when there is something to send.
const NAP: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// Most bytes of a piece of a message; MPI counts in `int`.
const PIECE: usize = 1 << 28;
/// The bit of a tag that says that more pieces follow.
const MORE: c_int = Channel::LAST.number() as c_int + 1;

/// A rank that is a process.
#[derive(Debug)]
pub struct Mpi {
    rank: usize,
    count: usize,
    host: String,
    inbox: Arc<Inbox>,
    orders: Mutex<mpsc::Sender<Order>>,
}

/// What the thread is told.
enum Order {
    Send {
        to: usize,
        channel: Channel,
        bytes: Vec<u8>,
    },
    /// To end with all others; it answers when it has.
    Close(mpsc::Sender<()>),
    /// To end all others as well.
    Abort,
}

impl Mpi {
    /// Joins the processes that a launcher has started.
    ///
    /// # Errors
    /// There is no MPI, it refuses, or it knows nothing of the others.
    pub fn join(launched: Launched) -> Result<Self, RankError> {
        let inbox = Arc::new(Inbox::default());
        let (orders, told) = mpsc::channel();
        let (answer, joined) = mpsc::channel();
        let work = {
            let inbox = Arc::clone(&inbox);
            // MPI is opened by the thread that calls it: nothing else has to be safe then.
            move || {
                let post = open(launched).and_then(|mpi| Post::new(mpi, inbox, launched));
                match post {
                    Ok(mut post) => {
                        // Who asked waits.
                        drop(answer.send(Ok((post.rank, post.count, post.host.clone()))));
                        post.work(&told);
                    }
                    Err(error) => drop(answer.send(Err(error))),
                }
            }
        };
        let thread = thread::Builder::new().name("ranks".into()).spawn(work);
        thread.map_err(|error| RankError::Carrier(format!("no thread can be started: {error}")))?;
        let ended = || RankError::Carrier("MPI ended its thread".into());
        let (rank, count, host) = joined.recv().map_err(|_| ended())??;
        Ok(Self { rank, count, host, inbox, orders: Mutex::new(orders) })
    }

    fn order(&self, order: Order) {
        // The thread ends only after it was told to.
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).send(order));
    }

    /// Ends this rank once all others do.
    pub fn close(&self) {
        let (done, ended) = mpsc::channel();
        self.order(Order::Close(done));
        // Whatever MPI still waits for then, the process ends.
        let _ = ended.recv_timeout(END);
    }

    /// Ends all ranks, however they are: the launcher is told that this one has failed.
    pub fn abort(&self) {
        self.order(Order::Abort);
        // It ends this process as well, or does not come through.
        thread::sleep(END);
    }
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn send(&self, to: usize, channel: Channel, bytes: &[u8]) -> Result<(), RankError> {
        if let Some(why) = self.inbox.ended(to) {
            return Err(why);
        }
        self.order(Order::Send { to, channel, bytes: bytes.into() });
        Ok(())
    }

    fn receive(
        &self,
        from: usize,
        channel: Channel,
        patience: Duration,
    ) -> Result<Vec<u8>, RankError> {
        self.inbox.receive(from, channel, patience)
    }

    fn poll(&self, channel: Channel) -> Result<Option<(usize, Vec<u8>)>, RankError> {
        self.inbox.poll(channel)
    }
}

/// What the thread works with.
struct Post {
    mpi: Box<dyn Calls>,
    rank: usize,
    count: usize,
    host: String,
    inbox: Arc<Inbox>,
    /// The pieces of messages that have come, by channel and sender.
    pieces: BTreeMap<(Channel, usize), Vec<u8>>,
    /// When each rank was heard of, of those whose pulse comes here.
    heard: BTreeMap<usize, Instant>,
    pulsed: Instant,
}

impl Post {
    fn new(
        mut mpi: Box<dyn Calls>,
        inbox: Arc<Inbox>,
        launched: Launched,
    ) -> Result<Self, RankError> {
        let [rank, count] = mpi.place()?;
        if count == 1 && launched.count.is_some_and(|count| count > 1) {
            let launched = launched.count.unwrap_or_default();
            let library = mpi.name();
            return Err(RankError::Carrier(format!(
                "{launched} processes were started, but {library} finds only this one: with srun say `--mpi=pmix`, else take the mpirun of that library, or name that of the launcher in {LIBRARY}"
            )));
        }
        let host = mpi.host()?;
        let now = Instant::now();
        // The others hear of each other by rank 0, which ends all if one is gone.
        let peers = if rank == 0 { 1..count } else { 0..1 };
        let heard = peers.map(|rank| (rank, now)).collect();
        let pieces = BTreeMap::new();
        let pulsed = now.checked_sub(BEAT).unwrap_or(now);
        Ok(Self { mpi, rank, count, host, inbox, pieces, heard, pulsed })
    }

    /// Carries messages until it is told to end.
    fn work(&mut self, told: &mpsc::Receiver<Order>) {
        let mut nap = NAP[0];
        let mut closing: Option<(mpsc::Sender<()>, Instant)> = None;
        loop {
            let order = match told.recv_timeout(nap) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                // Whoever had the rank has dropped it without a word.
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut busy = order.is_some();
            let done = match order {
                Some(Order::Send { to, channel, bytes }) => self.send(to, channel, bytes),
                Some(Order::Close(done)) => {
                    closing = Some((done, Instant::now()));
                    Ok(())
                }
                Some(Order::Abort) => {
                    self.mpi.abort();
                    return;
                }
                None => Ok(()),
            };
            match done.and_then(|()| self.carry()) {
                Ok(moved) => busy |= moved,
                Err(error) => self.heard.keys().for_each(|&rank| {
                    self.inbox.end(rank, error.clone());
                }),
            }
            if let Some((done, since)) = &closing
                && (self.mpi.sends() == 0 || since.elapsed() > END)
            {
                self.mpi.finish();
                // Who closed it may have gone on.
                let _ = done.send(());
                return;
            }
            nap = if busy { NAP[0] } else { (nap * 3 / 2).min(NAP[1]) };
        }
    }

    fn send(&mut self, to: usize, channel: Channel, bytes: Vec<u8>) -> Result<(), RankError> {
        let tag = c_int::from(channel.number());
        if bytes.len() <= PIECE {
            return self.mpi.send(to, tag, bytes);
        }
        let pieces = bytes.len().div_ceil(PIECE);
        for (k, piece) in bytes.chunks(PIECE).enumerate() {
            let more = if k + 1 < pieces { MORE } else { 0 };
            self.mpi.send(to, tag | more, piece.to_vec())?;
        }
        Ok(())
    }

    /// Moves what can be moved; whether anything did.
    fn carry(&mut self) -> Result<bool, RankError> {
        let mut moved = false;
        while let Some((from, tag, bytes)) = self.mpi.take()? {
            moved = true;
            if let Some(heard) = self.heard.get_mut(&from) {
                *heard = Instant::now();
            }
            let channel = Channel::new((tag & (MORE - 1)) as u16);
            if tag & MORE != 0 {
                self.pieces.entry((channel, from)).or_default().extend(bytes);
            } else if channel != PULSE {
                let whole = match self.pieces.remove(&(channel, from)) {
                    Some(mut first) => {
                        first.extend(bytes);
                        first
                    }
                    None => bytes,
                };
                self.inbox.put(from, channel, whole);
            }
        }
        if self.pulsed.elapsed() >= BEAT {
            self.pulsed = Instant::now();
            for (&rank, heard) in &self.heard {
                if heard.elapsed() > DEADLINE {
                    self.inbox.end(rank, RankError::Silent { rank, waited: DEADLINE });
                } else {
                    self.mpi.send(rank, c_int::from(PULSE.number()), Vec::new())?;
                }
            }
        }
        Ok(moved)
    }
}

/// MPI, as far as it is needed, whatever its handles are. All calls come from the thread that has opened it.
trait Calls {
    /// What it calls itself.
    fn name(&self) -> String;

    /// Number of this process and of all.
    fn place(&mut self) -> Result<[usize; 2], RankError>;

    /// The machine.
    fn host(&mut self) -> Result<String, RankError>;

    /// Begins to send a message.
    fn send(&mut self, to: usize, tag: c_int, bytes: Vec<u8>) -> Result<(), RankError>;

    /// Sends that are not done.
    fn sends(&self) -> usize;

    /// The next message that has come whole: from whom, its tag and its bytes.
    fn take(&mut self) -> Result<Option<(usize, c_int, Vec<u8>)>, RankError>;

    /// Ends MPI with all others.
    fn finish(&mut self);

    /// Ends all processes.
    fn abort(&mut self);
}

/// What a status is read of: the longest of the three has 32 bytes, and Open MPI's has words of 8.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(8))]
struct Status([c_int; 16]);

/// What differs between binary interfaces beside the sort of a handle.
#[derive(Debug, Clone, Copy)]
struct Interface<H> {
    world: H,
    byte: H,
    errors_return: H,
    any_source: c_int,
    any_tag: c_int,
    funneled: c_int,
    /// Where a status has its source; the tag is behind it.
    source: usize,
}

macro_rules! functions {
    ($($name:ident: $symbol:literal ($($argument:ty),*);)*) => {
        /// The C functions, for handles of the sort `H`: `int` in the MPICH family, pointers elsewhere.
        struct Functions<H> {
            $($name: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl<H> Functions<H> {
            /// # Safety
            /// The library is an MPI with handles of the sort `H`.
            unsafe fn of(library: &dl::Library) -> Result<Self, libloading::Error> {
                // SAFETY: MPI's standard gives these functions these arguments.
                unsafe { Ok(Self { $($name: *library.get(concat!($symbol, "\0").as_bytes())?,)* }) }
            }
        }
    };
}

functions! {
    init: "MPI_Init_thread" (*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int);
    finalize: "MPI_Finalize" ();
    abort: "MPI_Abort" (H, c_int);
    size: "MPI_Comm_size" (H, *mut c_int);
    rank: "MPI_Comm_rank" (H, *mut c_int);
    handle_errors: "MPI_Comm_set_errhandler" (H, H);
    host: "MPI_Get_processor_name" (*mut c_char, *mut c_int);
    text: "MPI_Error_string" (c_int, *mut c_char, *mut c_int);
    send: "MPI_Isend" (*const c_void, c_int, H, c_int, c_int, H, *mut H);
    probe: "MPI_Improbe" (c_int, c_int, H, *mut c_int, *mut H, *mut Status);
    count: "MPI_Get_count" (*const Status, H, *mut c_int);
    receive: "MPI_Imrecv" (*mut c_void, c_int, H, *mut H, *mut H);
    test: "MPI_Test" (*mut H, *mut c_int, *mut Status);
}

/// A message that MPI has begun to send or to receive. The bytes stay where they are until it is done.
struct Moving<H> {
    request: H,
    done: bool,
    bytes: Vec<u8>,
    /// The other rank, and the tag.
    of: (usize, c_int),
}

/// An open library with handles of the sort `H`.
///
/// # Safety
/// The functions have the arguments that MPI's standard gives them, with handles of the sort that [`open`] has found out by symbols that
/// only one family has, by the library's own name for itself, or by a file name that the standard reserves. All calls are made by the thread
/// that has called `MPI_Init_thread`, after it, and none after `MPI_Finalize`: `finished` guards that. Every pointer is to a local or an
/// owned value of at least the size that the function writes: [`Status`] is longer than any family's, texts have more room than any
/// family's constants ask for. Buffers of messages are on the heap, owned by `sending` and `receiving`, and neither read, moved, grown nor freed
/// until `MPI_Test` says that they are done; if the value is dropped earlier, they are leaked. The library is never closed, as it has threads and
/// handlers of its own.
struct Library<H> {
    name: String,
    functions: Functions<H>,
    interface: Interface<H>,
    sending: Vec<Moving<H>>,
    receiving: VecDeque<Moving<H>>,
    finished: bool,
}

impl<H: Copy + Default> Library<H> {
    /// Begins MPI.
    fn begin(
        name: String,
        functions: Functions<H>,
        interface: Interface<H>,
    ) -> Result<Box<dyn Calls>, RankError>
    where
        H: 'static,
    {
        let (sending, receiving) = (Vec::new(), VecDeque::new());
        let mpi = Self { name, functions, interface, sending, receiving, finished: false };
        let mut granted = 0;
        // SAFETY: see `Library`; null for the program's arguments is allowed.
        let code = unsafe {
            (mpi.functions.init)(
                ptr::null_mut(),
                ptr::null_mut(),
                interface.funneled,
                &raw mut granted,
            )
        };
        mpi.check("MPI_Init_thread", code)?;
        // SAFETY: see `Library`.
        let code =
            unsafe { (mpi.functions.handle_errors)(interface.world, interface.errors_return) };
        mpi.check("MPI_Comm_set_errhandler", code)?;
        Ok(Box::new(mpi))
    }

    fn check(&self, what: &str, code: c_int) -> Result<(), RankError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: see `Library`.
        let text = text(|to, length| unsafe { (self.functions.text)(code, to, length) });
        let text = text.unwrap_or_else(|code| format!("error {code}"));
        Err(RankError::Carrier(format!("{what} of {}: {text}", self.name)))
    }

    /// Whether something that moves is done.
    fn is_done(&self, moving: &mut Moving<H>) -> Result<bool, RankError> {
        if !moving.done {
            let (mut flag, mut status) = (0, Status::default());
            // SAFETY: see `Library`; the request is under way.
            let code = unsafe {
                (self.functions.test)(&raw mut moving.request, &raw mut flag, &raw mut status)
            };
            self.check("MPI_Test", code)?;
            moving.done = flag != 0;
        }
        Ok(moving.done)
    }

    /// Lets go of what is sent.
    fn sent(&mut self) -> Result<(), RankError> {
        let mut sending = std::mem::take(&mut self.sending);
        let mut failed = None;
        // What has failed is kept: MPI may still read it.
        sending.retain_mut(|moving| match self.is_done(moving) {
            Ok(done) => !done,
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        self.sending = sending;
        failed.map_or(Ok(()), Err)
    }
}

impl<H: Copy + Default> Calls for Library<H> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn place(&mut self) -> Result<[usize; 2], RankError> {
        let (mut rank, mut count) = (0, 0);
        // SAFETY: see `Library`.
        let code = unsafe { (self.functions.rank)(self.interface.world, &raw mut rank) };
        self.check("MPI_Comm_rank", code)?;
        // SAFETY: see `Library`.
        let code = unsafe { (self.functions.size)(self.interface.world, &raw mut count) };
        self.check("MPI_Comm_size", code)?;
        Ok([rank as usize, count as usize])
    }

    fn host(&mut self) -> Result<String, RankError> {
        // SAFETY: see `Library`.
        let name = text(|to, length| unsafe { (self.functions.host)(to, length) });
        name.or_else(|code| self.check("MPI_Get_processor_name", code).map(|()| String::new()))
    }

    fn send(&mut self, to: usize, tag: c_int, bytes: Vec<u8>) -> Result<(), RankError> {
        let Interface { world, byte, .. } = self.interface;
        let mut request = H::default();
        // SAFETY: see `Library`; the bytes are kept in `sending` until they are sent.
        let code = unsafe {
            (self.functions.send)(
                bytes.as_ptr().cast(),
                bytes.len() as c_int,
                byte,
                to as c_int,
                tag,
                world,
                &raw mut request,
            )
        };
        if code == 0 {
            self.sending.push(Moving { request, done: false, bytes, of: (to, tag) });
        }
        self.check("MPI_Isend", code)
    }

    fn sends(&self) -> usize {
        self.sending.len()
    }

    fn take(&mut self) -> Result<Option<(usize, c_int, Vec<u8>)>, RankError> {
        self.sent()?;
        let Interface { world, byte, any_source, any_tag, source, .. } = self.interface;
        loop {
            let (mut flag, mut message, mut status) = (0, H::default(), Status::default());
            // SAFETY: see `Library`.
            let code = unsafe {
                (self.functions.probe)(
                    any_source,
                    any_tag,
                    world,
                    &raw mut flag,
                    &raw mut message,
                    &raw mut status,
                )
            };
            self.check("MPI_Improbe", code)?;
            if flag == 0 {
                break;
            }
            let mut length = 0;
            // SAFETY: see `Library`; the status is of the message that was found.
            let code = unsafe { (self.functions.count)(&raw const status, byte, &raw mut length) };
            self.check("MPI_Get_count", code)?;
            let of = (status.0[source] as usize, status.0[source + 1]);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            let mut request = H::default();
            // SAFETY: see `Library`; the bytes are kept in `receiving` until they have come.
            let code = unsafe {
                (self.functions.receive)(
                    bytes.as_mut_ptr().cast(),
                    length,
                    byte,
                    &raw mut message,
                    &raw mut request,
                )
            };
            if code == 0 {
                self.receiving.push_back(Moving { request, done: false, bytes, of });
            }
            self.check("MPI_Imrecv", code)?;
        }
        // In the order in which they were found, so that none of a rank's overtakes another.
        let mut receiving = std::mem::take(&mut self.receiving);
        let mut done = Ok(None);
        let mut waits: Vec<usize> = Vec::new();
        for k in 0..receiving.len() {
            let from = receiving[k].of.0;
            match self.is_done(&mut receiving[k]) {
                Ok(true) if !waits.contains(&from) => {
                    done = Ok(receiving.remove(k));
                    break;
                }
                Ok(_) => waits.push(from),
                Err(error) => {
                    done = Err(error);
                    break;
                }
            }
        }
        self.receiving = receiving;
        Ok(done?.map(|Moving { bytes, of: (from, tag), .. }| (from, tag, bytes)))
    }

    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            // SAFETY: see `Library`. Its code changes nothing: the process ends.
            let _ = unsafe { (self.functions.finalize)() };
        }
    }

    fn abort(&mut self) {
        self.finished = true;
        // SAFETY: see `Library`. It does not return where it succeeds.
        let _ = unsafe { (self.functions.abort)(self.interface.world, 1) };
    }
}

impl<H> Drop for Library<H> {
    fn drop(&mut self) {
        let sending = std::mem::take(&mut self.sending);
        let receiving = std::mem::take(&mut self.receiving);
        for moving in sending.into_iter().chain(receiving) {
            if !moving.done {
                std::mem::forget(moving.bytes);
            }
        }
    }
}

/// A text that MPI writes, or the code that it returns instead.
fn text(write: impl FnOnce(*mut c_char, *mut c_int) -> c_int) -> Result<String, c_int> {
    // MPI_MAX_LIBRARY_VERSION_STRING is the longest of them, 8192 at most.
    let (mut bytes, mut length) = (vec![0_u8; 1 << 14], 0);
    match write(bytes.as_mut_ptr().cast(), &raw mut length) {
        0 => {
            bytes.truncate(usize::try_from(length).unwrap_or(0));
            let text = String::from_utf8_lossy(&bytes);
            Ok(text.trim_end_matches(['\0', '\n', ' ']).to_owned())
        }
        code => Err(code),
    }
}

/// Opens the library of a launcher and begins MPI.
fn open(launched: Launched) -> Result<Box<dyn Calls>, RankError> {
    let names = match env::var_os(LIBRARY) {
        Some(name) => vec![PathBuf::from(name)],
        None => names(launched.family),
    };
    let mut problems = Vec::new();
    for name in &names {
        // RTLD_GLOBAL, as Open MPI opens parts of itself that look for its symbols.
        // SAFETY: a library of these names is an MPI, which may be loaded anywhere; the user vouches for what TAPER_MPI names.
        match unsafe { dl::Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => return begin(library, name),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let tried: Vec<String> = names
        .iter()
        .filter(|name| names.len() == 1 || name.is_relative())
        .map(|name| name.display().to_string())
        .collect();
    Err(RankError::Carrier(format!(
        "a launcher of MPI has started this process, but no MPI library can be opened (tried {}): install Open MPI or MPICH, or name its library in {LIBRARY}{}",
        tried.join(", "),
        problems.last().map_or(String::new(), |last| format!("; {last}"))
    )))
}

/// The file of MPI 5's binary interface.
const STANDARD: [&str; 2] = ["libmpi_abi.so.1", "libmpi_abi.dylib"];

/// What the libraries are called; where the loader knows none of them, they lie beside the launcher.
fn names(family: Family) -> Vec<PathBuf> {
    let open_mpi = ["libmpi.so.40", "libmpi.40.dylib"];
    let mpich = ["libmpi.so.12", "libmpich.so.12", "libmpi.12.dylib"];
    let any = ["libmpi.so", "libmpi.dylib"];
    let names: Vec<&str> = match family {
        Family::OpenMpi => {
            open_mpi.iter().chain(&STANDARD).chain(&any).chain(&mpich).copied().collect()
        }
        Family::Mpich => mpich.iter().chain(&STANDARD).chain(&any).copied().collect(),
    };
    // MPICH's launcher starts its processes by a program that lies beside it, and tells the loader nothing.
    let launcher = fs::read_link(format!("/proc/{}/exe", parent_id())).ok();
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("mpirun"));
    let launchers = launcher.into_iter().chain(on_path.filter(|program| program.is_file()));
    let folders: Vec<PathBuf> =
        launchers.filter_map(|program| Some(program.parent()?.parent()?.join("lib"))).collect();
    let there = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    names.iter().map(PathBuf::from).chain(there).collect()
}

/// Finds out which binary interface a library has, and begins MPI.
fn begin(library: dl::Library, name: &std::path::Path) -> Result<Box<dyn Calls>, RankError> {
    let refused = |error: libloading::Error| {
        RankError::Carrier(format!("{} is no MPI that can be used: {error}", name.display()))
    };
    // It is never closed.
    let library: &'static dl::Library = Box::leak(Box::new(library));
    // SAFETY: every MPI since 3.0 has this function, and it may be called before MPI has begun.
    let own = unsafe {
        let version: dl::Symbol<unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int> =
            library.get(b"MPI_Get_library_version\0").map_err(refused)?;
        text(|to, length| version(to, length)).unwrap_or_default()
    };
    let first = own.split([',', '\n']).next().unwrap_or_default();
    let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let called = format!("{first} ({})", name.display());
    let is_standard = name
        .file_name()
        .and_then(OsStr::to_str)
        .is_some_and(|file| file.starts_with("libmpi_abi."));
    if is_standard {
        // Numbers of chapter 20 of MPI 5.0.
        let interface = Interface {
            world: 0x101_usize,
            byte: 0x247,
            errors_return: 0x143,
            any_source: -1,
            any_tag: -2,
            funneled: 1024,
            source: 0,
        };
        // SAFETY: the standard reserves the name for libraries whose handles are pointers.
        return Library::begin(
            called,
            unsafe { Functions::of(library) }.map_err(refused)?,
            interface,
        );
    }
    // SAFETY: only the address of what Open MPI's header names is taken.
    let address = |symbol: &[u8]| unsafe {
        library.get::<*mut c_void>(symbol).map(|symbol| symbol.into_raw().addr())
    };
    if let Ok(world) = address(b"ompi_mpi_comm_world\0") {
        let interface = Interface {
            world,
            byte: address(b"ompi_mpi_byte\0").map_err(refused)?,
            errors_return: address(b"ompi_mpi_errors_return\0").map_err(refused)?,
            any_source: -1,
            any_tag: -1,
            funneled: 1,
            source: 0,
        };
        // SAFETY: only Open MPI has these symbols, and its handles are pointers.
        return Library::begin(
            called,
            unsafe { Functions::of(library) }.map_err(refused)?,
            interface,
        );
    }
    let family = ["MPICH", "Intel", "MVAPICH", "CRAY", "Cray"];
    if family.iter().any(|member| own.contains(member)) {
        let interface = Interface {
            world: 0x4400_0000_i32 as c_int,
            byte: 0x4c00_010d,
            errors_return: 0x5400_0001,
            any_source: -2,
            any_tag: -1,
            funneled: 1,
            source: 2,
        };
        // SAFETY: these have agreed on MPICH's interface, whose handles are of `int`.
        return Library::begin(
            called,
            unsafe { Functions::of(library) }.map_err(refused)?,
            interface,
        );
    }
    Err(RankError::Carrier(format!(
        "{called} is neither Open MPI, nor of the MPICH family, nor has it the interface of MPI 5: name another library in {LIBRARY}"
    )))
}
