//! What the page's worker does for the engine, and the one function that it calls: the whole border between them.
//!
//! `web/src/train/engine.ts` has the other side. Bytes go out as a pointer and a length. What comes in is first kept there as *the answer*; its
//! length is returned, and [`take`] copies it. Functions that wait are `WebAssembly.Suspending` there: they suspend [`perform`], and the worker's
//! events run meanwhile.
//!
//! # Safety
//! Three things make this file say `unsafe`.
//! * The imports are declared, not checked: `engine.ts` gives every one of these names a function of these numbers, and instantiation fails if one is
//!   missing. None of them calls back into the module, so no Rust code runs below another's borrows.
//! * A pointer that goes out is that of a live slice, and its length is the slice's. The other side reads it before it returns or first waits, and
//!   keeps no view of the memory: a view would not survive that the memory grows.
//! * [`take`] is given a buffer of exactly the answer's length, which it alone writes. There is one thread, and one call of [`perform`] at a time:
//!   an instance of the module does one job, so nobody changes the answer between its length and its copy, and the suspended stack is the only one.

#![expect(unsafe_code, reason = "the functions of a browser's worker; see the argument above")]

/// A call that failed: below zero.
pub(crate) const FAILED: i32 = -1;

mod raw {
    #[link(wasm_import_module = "taper")]
    unsafe extern "C" {
        pub(crate) safe fn now() -> f64;
        pub(crate) safe fn unix() -> f64;
        pub(crate) safe fn asked() -> i32;
        pub(crate) safe fn job() -> i32;
        pub(crate) safe fn reason() -> i32;
        pub(super) fn tell(text: *const u8, length: usize);
        pub(super) fn take(to: *mut u8, length: usize);

        pub(crate) safe fn device_open() -> i32;
        pub(super) fn prepare(plan: *const u8, length: usize) -> i32;
        pub(crate) safe fn free(executor: i32);
        pub(super) fn write(executor: i32, buffer: u32, bytes: *const u8, length: usize) -> i32;
        pub(crate) safe fn read(executor: i32, buffer: u32) -> i32;
        pub(super) fn run(
            executor: i32,
            program: *const u8,
            length: usize,
            live: *const u8,
            reads_back: i32,
            tag: f64,
        ) -> i32;
        pub(crate) safe fn metrics(executor: i32, all: i32) -> i32;

        pub(super) fn disk_read(path: *const u8, length: usize) -> i32;
        pub(super) fn disk_open(path: *const u8, length: usize, how: i32) -> i32;
        pub(crate) safe fn disk_size(file: i32) -> f64;
        pub(super) fn disk_get(file: i32, at: f64, to: *mut u8, length: usize) -> i32;
        pub(super) fn disk_put(file: i32, at: f64, from: *const u8, length: usize) -> i32;
        pub(crate) safe fn disk_flush(file: i32) -> i32;
        pub(crate) safe fn disk_close(file: i32);
        pub(super) fn disk_move(
            path: *const u8,
            length: usize,
            to: *const u8,
            to_length: usize,
        ) -> i32;
        pub(super) fn disk_list(path: *const u8, length: usize) -> i32;
        pub(super) fn disk_kind(path: *const u8, length: usize) -> i32;
        pub(super) fn disk_make_folder(path: *const u8, length: usize) -> i32;
        pub(super) fn disk_remove(path: *const u8, length: usize) -> i32;
        pub(super) fn disk_lock(path: *const u8, length: usize) -> i32;
        pub(crate) safe fn disk_unlock(lock: i32);
    }
}

pub(crate) use raw::{
    asked, device_open, disk_close, disk_flush, disk_size, disk_unlock, free, job, metrics, now,
    read, reason, unix,
};

/// The entry of the module: does the job that the worker has for it.
#[unsafe(no_mangle)]
extern "C" fn perform() {
    super::perform();
}

/// The answer of a call that returned its length.
pub(crate) fn take(length: i32) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    // SAFETY: the buffer is ours alone and has this length.
    unsafe { raw::take(bytes.as_mut_ptr(), bytes.len()) };
    bytes
}

/// [`take`] of a text; what the worker gives is UTF-8.
pub(crate) fn take_text(length: i32) -> String {
    String::from_utf8_lossy(&take(length)).into_owned()
}

// SAFETY of all below: each pointer is that of a slice that outlives the call, with its length.

/// Tells the page something, as JSON.
pub(crate) fn tell(text: &str) {
    unsafe { raw::tell(text.as_ptr(), text.len()) }
}

/// Makes a plan ready; its number, or less than zero and the reason as the answer.
pub(crate) fn prepare(plan: &str) -> i32 {
    unsafe { raw::prepare(plan.as_ptr(), plan.len()) }
}

pub(crate) fn write(executor: i32, buffer: u32, bytes: &[u8]) -> i32 {
    unsafe { raw::write(executor, buffer, bytes.as_ptr(), bytes.len()) }
}

pub(crate) fn run(executor: i32, program: &str, live: &[u8; 32], tag: Option<u64>) -> i32 {
    let (length, back) = (program.len(), i32::from(tag.is_some()));
    let tag = tag.unwrap_or_default() as f64;
    unsafe { raw::run(executor, program.as_ptr(), length, live.as_ptr(), back, tag) }
}

pub(crate) fn disk_read(path: &str) -> i32 {
    unsafe { raw::disk_read(path.as_ptr(), path.len()) }
}

pub(crate) fn disk_open(path: &str, how: i32) -> i32 {
    unsafe { raw::disk_open(path.as_ptr(), path.len(), how) }
}

pub(crate) fn disk_get(file: i32, at: u64, to: &mut [u8]) -> i32 {
    unsafe { raw::disk_get(file, at as f64, to.as_mut_ptr(), to.len()) }
}

pub(crate) fn disk_put(file: i32, at: u64, from: &[u8]) -> i32 {
    unsafe { raw::disk_put(file, at as f64, from.as_ptr(), from.len()) }
}

pub(crate) fn disk_move(path: &str, to: &str) -> i32 {
    unsafe { raw::disk_move(path.as_ptr(), path.len(), to.as_ptr(), to.len()) }
}

pub(crate) fn disk_list(path: &str) -> i32 {
    unsafe { raw::disk_list(path.as_ptr(), path.len()) }
}

pub(crate) fn disk_kind(path: &str) -> i32 {
    unsafe { raw::disk_kind(path.as_ptr(), path.len()) }
}

pub(crate) fn disk_make_folder(path: &str) -> i32 {
    unsafe { raw::disk_make_folder(path.as_ptr(), path.len()) }
}

pub(crate) fn disk_remove(path: &str) -> i32 {
    unsafe { raw::disk_remove(path.as_ptr(), path.len()) }
}

pub(crate) fn disk_lock(path: &str) -> i32 {
    unsafe { raw::disk_lock(path.as_ptr(), path.len()) }
}
