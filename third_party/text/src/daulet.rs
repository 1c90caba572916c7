//! The C functions of daulet/tokenizers v1.24.0, as its header declares them.
//!
//! They keep that package's contract: no length on texts, empty results where something failed.

use std::ffi::{c_char, c_void, CStr, CString};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use hf::{TruncationDirection, TruncationParams};

use crate::cell;
use crate::encode;
use crate::file;
use crate::guard;
use crate::handle::Handle;

#[repr(C)]
pub struct Options {
    encode_special_tokens: bool,
}

#[repr(C)]
pub struct EncodeOptions {
    add_special_tokens: bool,
    return_type_ids: bool,
    return_tokens: bool,
    return_special_tokens_mask: bool,
    return_attention_mask: bool,
    return_offsets: bool,
}

#[repr(C)]
pub struct Buffer {
    ids: *mut u32,
    type_ids: *mut u32,
    special_tokens_mask: *mut u32,
    attention_mask: *mut u32,
    tokens: *mut *mut c_char,
    offsets: *mut usize,
    len: u32,
}

impl Buffer {
    const EMPTY: Buffer = Buffer {
        ids: ptr::null_mut(),
        type_ids: ptr::null_mut(),
        special_tokens_mask: ptr::null_mut(),
        attention_mask: ptr::null_mut(),
        tokens: ptr::null_mut(),
        offsets: ptr::null_mut(),
        len: 0,
    };
}

/// The symbol by which the Go package makes sure of the library's version when it is linked.
#[no_mangle]
pub extern "C" fn tokenizers_version_1_23_0() {}

#[no_mangle]
pub extern "C" fn tokenizers_version() -> *const c_char {
    c"1.23.0".as_ptr()
}

/// # Safety
/// `config` holds `len` bytes, `options` is null or valid, `error` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_from_bytes(
    config: *const u8,
    len: u32,
    options: *const Options,
    error: *mut *mut c_char,
) -> *mut c_void {
    opened(error, || {
        let handle = Handle::load(bytes(config, len as usize).to_vec())?;
        match options.as_ref() {
            Some(options) if options.encode_special_tokens => handle.adjust(|t| {
                t.set_encode_special_tokens(true);
                Ok(())
            }),
            _ => Ok(handle),
        }
    })
}

/// # Safety
/// As `tokenizers_from_bytes`.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_from_bytes_with_truncation(
    config: *const u8,
    len: u32,
    max_len: u32,
    direction: u8,
    error: *mut *mut c_char,
) -> *mut c_void {
    opened(error, || {
        let direction = match direction {
            0 => TruncationDirection::Left,
            1 => TruncationDirection::Right,
            other => return Err(format!("truncation direction {other} is neither 0 (left) nor 1 (right)")),
        };
        Handle::load(bytes(config, len as usize).to_vec())?.adjust(|t| {
            let params = TruncationParams { max_length: max_len as usize, direction, ..Default::default() };
            t.with_truncation(Some(params)).map_err(|e| e.to_string())?;
            Ok(())
        })
    })
}

/// # Safety
/// `path` is a C string, `error` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_from_file(path: *const c_char, error: *mut *mut c_char) -> *mut c_void {
    opened(error, || {
        if path.is_null() {
            return Err("no path was given".into());
        }
        let path = CStr::from_ptr(path).to_str().map_err(|e| e.to_string())?;
        let size = Path::new(path).metadata().map_err(|e| format!("{path}: {e}"))?.len();
        if size > file::FILE_MAX as u64 {
            return Err(format!("{path} has {size} bytes, at most {} are read", file::FILE_MAX));
        }
        Handle::load(std::fs::read(path).map_err(|e| format!("{path}: {e}"))?)
    })
}

/// # Safety
/// `error` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_from_tiktoken(
    _model: *const c_char,
    _config: *const c_char,
    _pattern: *const c_char,
    error: *mut *mut c_char,
) -> *mut c_void {
    opened(error, || Err("tiktoken files are not read by this library; convert them to tokenizer.json".into()))
}

/// # Safety
/// `handle` comes from this library, `message` is a C string, `options` is valid.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_encode(
    handle: *mut c_void,
    message: *const c_char,
    options: *const EncodeOptions,
) -> Buffer {
    let (Some(handle), Some(options)) = (handle.cast::<Handle>().as_ref(), options.as_ref()) else {
        return Buffer::EMPTY;
    };
    if message.is_null() {
        return Buffer::EMPTY;
    }
    let message = CStr::from_ptr(message).to_string_lossy();
    let len = message.len();
    if len > encode::TEXT_MAX {
        return Buffer::EMPTY;
    }
    guard::run(|| {
        let (text, special) = (Arc::clone(&handle.0), options.add_special_tokens);
        let message = message.into_owned();
        let encode = move || text.tokenizer.encode(message, special).map_err(|e| e.to_string());
        let e = cell::run(encode::allowance(len), encode)??;
        let len = u32::try_from(e.len()).map_err(|e| e.to_string())?;
        let column = |wanted: bool, values: &[u32]| if wanted { leak(values.to_vec()) } else { ptr::null_mut() };
        let mut buffer = Buffer { ids: leak(e.get_ids().to_vec()), len, ..Buffer::EMPTY };
        buffer.type_ids = column(options.return_type_ids, e.get_type_ids());
        buffer.special_tokens_mask = column(options.return_special_tokens_mask, e.get_special_tokens_mask());
        buffer.attention_mask = column(options.return_attention_mask, e.get_attention_mask());
        if options.return_tokens {
            buffer.tokens = leak(e.get_tokens().iter().map(|t| c_string(t)).collect());
        }
        if options.return_offsets {
            buffer.offsets = leak(e.get_offsets().iter().flat_map(|&(start, end)| [start, end]).collect());
        }
        Ok(buffer)
    })
    .unwrap_or(Buffer::EMPTY)
}

/// # Safety
/// `handle` comes from this library, `ids` holds `len` values.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_decode(
    handle: *mut c_void,
    ids: *const u32,
    len: u32,
    skip_special_tokens: bool,
) -> *mut c_char {
    let Some(handle) = handle.cast::<Handle>().as_ref() else { return ptr::null_mut() };
    if ids.is_null() {
        return ptr::null_mut();
    }
    let ids = std::slice::from_raw_parts(ids, len as usize);
    guard::run(|| handle.0.tokenizer.decode(ids, skip_special_tokens).map_err(|e| e.to_string()))
        .map_or(ptr::null_mut(), |text| c_string(&text))
}

/// # Safety
/// `handle` comes from this library.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_vocab_size(handle: *mut c_void) -> u32 {
    handle.cast::<Handle>().as_ref().map_or(0, |h| h.0.tokenizer.get_vocab_size(true) as u32)
}

/// # Safety
/// `handle` comes from this library and is not used again.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_free_tokenizer(handle: *mut c_void) {
    if !handle.is_null() {
        let _ = guard::run(|| {
            drop(Box::from_raw(handle.cast::<Handle>()));
            Ok(())
        });
    }
}

/// # Safety
/// `buffer` comes from `tokenizers_encode` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_free_buffer(buffer: Buffer) {
    let len = buffer.len as usize;
    for column in [buffer.ids, buffer.type_ids, buffer.special_tokens_mask, buffer.attention_mask] {
        unleak(column, len);
    }
    unleak(buffer.offsets, len * 2);
    if let Some(tokens) = unleak(buffer.tokens, len) {
        for &token in tokens.iter() {
            tokenizers_free_string(token);
        }
    }
}

/// # Safety
/// `string` comes from this library and is not used again.
#[no_mangle]
pub unsafe extern "C" fn tokenizers_free_string(string: *mut c_char) {
    if !string.is_null() {
        drop(CString::from_raw(string));
    }
}

unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(data, len)
}

/// Hands a new tokenizer or the reason why there is none to C.
unsafe fn opened(error: *mut *mut c_char, open: impl FnOnce() -> Result<Handle, String>) -> *mut c_void {
    match guard::run(open) {
        Ok(handle) => handle.into_raw().cast(),
        Err(message) => {
            if !error.is_null() {
                *error = c_string(&message);
            }
            ptr::null_mut()
        }
    }
}

/// A C string; it ends at the first NUL, as this interface has no other way.
fn c_string(text: &str) -> *mut c_char {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).map_or(ptr::null_mut(), CString::into_raw)
}

fn leak<T>(values: Vec<T>) -> *mut T {
    if values.is_empty() {
        return ptr::null_mut(); // and not Rust's own pointer to nothing, which Go cannot hold
    }
    Box::into_raw(values.into_boxed_slice()).cast()
}

unsafe fn unleak<T>(data: *mut T, len: usize) -> Option<Box<[T]>> {
    if data.is_null() {
        return None;
    }
    Some(Box::from_raw(ptr::slice_from_raw_parts_mut(data, len)))
}
