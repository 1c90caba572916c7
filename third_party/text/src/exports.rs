//! The C functions that are ours. The header is engine/text/text.h.
//!
//! A `Reply` travels by value. What it points to is freed with `shammah_text_free`, except where a
//! comment says that it is borrowed.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use crate::decode::Stream;
use crate::encode::Encoded;
use crate::guard;
use crate::handle::Handle;
use crate::template::{Failure, Template};

/// Bytes, ids or a pointer; or, if `status` is not OK, the text of an error.
#[repr(C)]
pub struct Reply {
    data: *mut c_void,
    /// Bytes in data.
    len: usize,
    status: i32,
    /// Line of the template that failed, 0 if unknown. For a rendered prompt: the mark in it. For a text that is too long: how
    /// many ids it has at least.
    detail: u32,
}

const OK: i32 = 0;
const FAILED: i32 = 1;
const RAISED: i32 = 2;
const LONG: i32 = 3;

/// What an empty reply points to. Rust's own pointer to nothing is the number 1, and Go ends the process when it meets such a
/// pointer on a stack that it moves.
static NOTHING: u8 = 0;

fn nothing() -> *mut c_void {
    (&raw const NOTHING).cast_mut().cast()
}

impl Reply {
    fn bytes(bytes: Vec<u8>, status: i32, detail: u32) -> Reply {
        let len = bytes.len();
        let data = if len == 0 { nothing() } else { Box::into_raw(bytes.into_boxed_slice()).cast() };
        Reply { data, len, status, detail }
    }

    fn borrowed(text: &str) -> Reply {
        let data = if text.is_empty() { nothing() } else { text.as_ptr() as *mut c_void };
        Reply { data, len: text.len(), status: OK, detail: 0 }
    }

    fn pointer<T>(value: T) -> Reply {
        Reply { data: Box::into_raw(Box::new(value)).cast(), len: 0, status: OK, detail: 0 }
    }

    fn error(message: String) -> Reply {
        Reply::bytes(guard::one_line(&message).into_bytes(), FAILED, 0)
    }

    fn failure(failure: Failure) -> Reply {
        let status = if failure.raised { RAISED } else { FAILED };
        Reply::bytes(failure.message.into_bytes(), status, failure.line)
    }
}

unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if data.is_null() || len == 0 {
        return &[];
    }
    std::slice::from_raw_parts(data, len)
}

/// Text from outside may be any bytes: what is not UTF-8 becomes U+FFFD.
unsafe fn text<'a>(data: *const u8, len: usize) -> std::borrow::Cow<'a, str> {
    String::from_utf8_lossy(slice(data, len))
}

/// # Safety
/// `data` and `len` come from a reply of this library that was not borrowed.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_free(data: *mut c_void, len: usize) {
    if !data.is_null() && len != 0 {
        drop(Box::from_raw(ptr::slice_from_raw_parts_mut(data.cast::<u8>(), len)));
    }
}

/// Ids of a text, four bytes each; of a long text only if they are at most `most`. `mark` 0 means none.
///
/// # Safety
/// `handle` comes from this library, `data` holds `len` bytes.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_encode(
    handle: &Handle,
    data: *const u8,
    len: usize,
    add_special: bool,
    plain: bool,
    mark: u32,
    most: usize,
) -> Reply {
    let encoded = guard::run(|| {
        let mark = char::from_u32(mark).filter(|_| mark != 0);
        handle.0.encode(text(data, len).into_owned(), add_special, plain, mark, most)
    });
    match encoded {
        Ok(Encoded::Ids(ids)) => Reply::bytes(ids.iter().flat_map(|id| id.to_ne_bytes()).collect(), OK, 0),
        Ok(Encoded::Long(least)) => Reply { data: ptr::null_mut(), len: 0, status: LONG, detail: least as u32 },
        Err(message) => Reply::error(message),
    }
}

/// # Safety
/// `handle` comes from this library, `ids` holds `len` values.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_decode(
    handle: &Handle,
    ids: *const u32,
    len: usize,
    keep_special: bool,
) -> Reply {
    match guard::run(|| handle.0.decode(slice(ids, len), keep_special)) {
        Ok(text) => Reply::bytes(text.into_bytes(), OK, 0),
        Err(message) => Reply::error(message),
    }
}

/// The token with an id; data is null if there is none.
///
/// # Safety
/// `handle` comes from this library.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_token(handle: &Handle, id: u32) -> Reply {
    match guard::run(|| Ok(handle.0.tokenizer.id_to_token(id))) {
        Ok(Some(token)) => Reply::bytes(token.into_bytes(), OK, 0),
        Ok(None) => Reply { data: ptr::null_mut(), len: 0, status: OK, detail: 0 },
        Err(message) => Reply::error(message),
    }
}

/// The id of a token, -1 if there is none.
///
/// # Safety
/// `handle` comes from this library, `data` holds `len` bytes.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_id(handle: &Handle, data: *const u8, len: usize) -> i64 {
    let id = guard::run(|| Ok(handle.0.tokenizer.token_to_id(&text(data, len))));
    id.ok().flatten().map_or(-1, i64::from)
}

/// The highest id plus one.
///
/// # Safety
/// `handle` comes from this library.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_size(handle: &Handle) -> u32 {
    handle.0.pieces.size()
}

/// # Safety
/// `handle` comes from this library.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_special(handle: &Handle, id: u32) -> bool {
    handle.0.pieces.special(id)
}

/// A new stream. It keeps what it needs of the tokenizer alive.
///
/// # Safety
/// `handle` comes from this library.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_stream_new(handle: &Handle, keep_special: bool) -> *mut Stream {
    let stream = guard::run(|| Ok(Box::new(Stream::new(Arc::clone(&handle.0), keep_special))));
    stream.map_or(ptr::null_mut(), Box::into_raw)
}

/// Borrowed: the text is valid until the next call with this stream.
///
/// # Safety
/// `stream` comes from this library and is used by one thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_stream_push(stream: &mut Stream, id: u32) -> Reply {
    match guard::run(|| stream.push(id).map(Reply::borrowed)) {
        Ok(reply) => reply,
        Err(message) => Reply::error(message),
    }
}

/// Borrowed, as with push.
///
/// # Safety
/// As push.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_stream_flush(stream: &mut Stream) -> Reply {
    match guard::run(|| Ok(Reply::borrowed(stream.flush()))) {
        Ok(reply) => reply,
        Err(message) => Reply::error(message),
    }
}

/// # Safety
/// As push.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_stream_reset(stream: &mut Stream) {
    stream.reset();
}

/// # Safety
/// `stream` comes from this library and is not used again.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_stream_free(stream: *mut Stream) {
    if !stream.is_null() {
        drop(Box::from_raw(stream));
    }
}

/// Data is the template.
///
/// # Safety
/// `data` holds `len` bytes.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_template_new(data: *const u8, len: usize) -> Reply {
    match guard::run(|| Ok(Template::parse(&text(data, len)))) {
        Ok(Ok(template)) => Reply::pointer(template),
        Ok(Err(failure)) => Reply::failure(failure),
        Err(message) => Reply::error(message),
    }
}

/// Renders with variables in JSON. With a tokenizer, its control tokens in the variables are broken by
/// a mark, which is then in `detail` (0: nothing was marked).
///
/// # Safety
/// `template` and `handle` (or null) come from this library, `vars` holds `len` bytes.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_template_render(
    template: &Template,
    handle: Option<&Handle>,
    vars: *const u8,
    len: usize,
    now: i64,
) -> Reply {
    let controls = handle.map(|h| &h.0.controls);
    match guard::run(|| Ok(template.render(slice(vars, len), controls, now))) {
        Ok(Ok((text, mark))) => Reply::bytes(text.into_bytes(), OK, mark.map_or(0, u32::from)),
        Ok(Err(failure)) => Reply::failure(failure),
        Err(message) => Reply::error(message),
    }
}

/// # Safety
/// `template` comes from this library and is not used again.
#[no_mangle]
pub unsafe extern "C" fn shammah_text_template_free(template: *mut Template) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}
