//! Panics become errors, without a word on standard error and without touching other threads.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `f`; a panic inside it is returned as an error in one line.
///
/// The panic hook is installed once and keeps the previous one: only a thread that is inside `run`
/// is silenced, so that a host program with Rust code of its own keeps its reports.
pub fn run<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.with(Cell::get) {
                MESSAGE.with(|m| *m.borrow_mut() = describe(info));
            } else {
                previous(info);
            }
        }));
    });
    let outer = GUARDED.with(|g| g.replace(true));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    GUARDED.with(|g| g.set(outer));
    result.unwrap_or_else(|payload| {
        // Dropping a payload may panic in turn; forget what is not plain text.
        if !payload.is::<String>() && !payload.is::<&'static str>() {
            std::mem::forget(payload);
        }
        Err(MESSAGE.with(|m| format!("panic: {}", m.take())))
    })
}

/// What a panic says and where, without the folders of the machine that built this.
fn describe(info: &panic::PanicHookInfo) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("unknown");
    let place = info.location().map_or((String::new(), 0), |at| {
        (at.file().rsplit(['/', '\\']).next().unwrap_or_default().to_string(), at.line())
    });
    one_line(&format!("{text} ({} line {})", place.0, place.1))
}

/// Error texts are one line and of bounded length, whatever the file put into them.
pub fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    let mut line = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == CHARS_MAX {
            line.push_str("...");
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let got: Result<(), String> = run(|| panic!("two\nlines"));
        let got = got.unwrap_err();
        assert!(got.contains("two lines"), "{got}");
        assert_eq!(run(|| Ok(1)), Ok(1));
    }

    #[test]
    fn guards_nest() {
        let got: Result<(), String> = run(|| {
            let _ = run(|| -> Result<(), String> { panic!("inner") });
            panic!("outer")
        });
        assert!(got.unwrap_err().contains("outer"));
    }
}
