//! A cell for work that a hostile file may have made endless.
//!
//! minijinja's fuel bounds what a template does, but not what a single step costs: `[x, x]`, forty times
//! over, is a value of forty lists, and to compare it or to write it takes a trillion steps and as many
//! bytes. A tokenizer.json can replace each letter by a megabyte. Such a step can be neither charged
//! beforehand nor interrupted, and memory that runs out aborts the process. But all of these steps
//! allocate. So the work gets a thread, and the allocator is where that thread is stopped, for ever,
//! when it has used up its time, memory or stack. Its caller then gets an error; what the thread holds
//! is lost. Time is what the thread has computed, however long it waited for others on a busy machine.
//! A thread costs about 30 microseconds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};

use crate::guard;

/// What work may take before it is stopped.
#[derive(Clone, Copy)]
pub struct Allowance {
    /// Of a processor.
    pub time: Duration,
    pub memory: usize,
}

/// The engine walks source and values by recursion, and a stack overflow cannot be caught. Only what is
/// touched is backed by memory.
const STACK: usize = 256 << 20;
/// The work is stopped while this much stack is left.
const STACK_SPARE: usize = 64 << 20;

/// Runs `f` in a cell. The outer error says that it was stopped or has panicked.
pub fn run<T: Send + 'static>(allowed: Allowance, f: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let stopped = Arc::new(AtomicU8::new(RUNS));
    let state = Arc::clone(&stopped);
    let work = move || {
        let result = guard::run(|| {
            let _limits = Limits::begin(allowed, &state);
            Ok(f())
        });
        let _ = sender.send(result);
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(work);
    let thread = thread.map_err(|e| format!("a thread cannot be started: {e}"))?;
    let end = Instant::now() + allowed.time * PATIENCE;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(result) => {
                let _ = thread.join();
                return result;
            }
            Err(_) if stopped.load(Relaxed) == OUT_OF_MEMORY => {
                return Err(format!("it needs more than {} MB of memory", allowed.memory >> 20));
            }
            Err(_) if stopped.load(Relaxed) == OUT_OF_STACK => return Err("it nests too deep".into()),
            Err(_) if stopped.load(Relaxed) == OUT_OF_TIME || Instant::now() > end => {
                return Err(format!("it takes longer than {:.1} s", allowed.time.as_secs_f32()));
            }
            Err(_) => {}
        }
    }
}

/// How many times its allowance the caller waits for work that does not allocate, and so cannot be stopped.
const PATIENCE: u32 = 20;

/// What this thread has computed.
pub fn used() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system writes to t alone. Where it has no such clock, it does not, and no time passes.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// How often the caller looks whether the work was stopped. The end of the work wakes it at once.
const LOOK: Duration = Duration::from_millis(20);

const RUNS: u8 = 0;
const OUT_OF_TIME: u8 = 1;
const OUT_OF_MEMORY: u8 = 2;
const OUT_OF_STACK: u8 = 3;

#[derive(Clone, Copy)]
struct Limits {
    end: Duration,
    memory: usize,
    stack_end: usize,
    until_look: u32,
    /// Belongs to the closure of the thread, which is not dropped while the limits stand.
    state: *const AtomicU8,
}

thread_local! {
    static LIMITS: Cell<Option<Limits>> = const { Cell::new(None) };
}

impl Limits {
    fn begin(allowed: Allowance, state: &AtomicU8) -> Ended {
        let here = 0u8;
        LIMITS.set(Some(Limits {
            end: used() + allowed.time,
            memory: allowed.memory,
            stack_end: (&raw const here as usize).saturating_sub(STACK - STACK_SPARE),
            until_look: 0,
            state,
        }));
        Ended
    }

    /// Takes memory, and says what there is no more of. The clock is looked at now and then.
    fn take(&mut self, bytes: usize) -> u8 {
        let here = 0u8;
        if self.memory < bytes {
            return OUT_OF_MEMORY;
        }
        if (&raw const here as usize) < self.stack_end {
            return OUT_OF_STACK;
        }
        self.memory -= bytes;
        self.until_look = self.until_look.wrapping_sub(1);
        if self.until_look % 256 == 0 && used() > self.end {
            return OUT_OF_TIME;
        }
        RUNS
    }
}

/// Lifts the limits when dropped, also by a panic.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        LIMITS.set(None);
    }
}

fn take(bytes: usize) {
    let Some(mut limits) = LIMITS.get() else { return };
    let state = limits.take(bytes);
    LIMITS.set(Some(limits));
    if state == RUNS {
        return;
    }
    // SAFETY: see the field.
    unsafe { (*limits.state).store(state, Relaxed) };
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn give_back(bytes: usize) {
    if let Some(mut limits) = LIMITS.get() {
        limits.memory = limits.memory.saturating_add(bytes);
        LIMITS.set(Some(limits));
    }
}

struct Metered;

#[global_allocator]
static ALLOCATOR: Metered = Metered;

// SAFETY: everything is done by System; what is added neither allocates nor unwinds.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        System.alloc_zeroed(layout)
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        give_back(layout.size());
        System.dealloc(data, layout)
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        give_back(layout.size());
        System.realloc(data, layout, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 64 << 20;

    fn allowed(seconds: f32) -> Allowance {
        Allowance { time: Duration::from_secs_f32(seconds), memory: MEMORY }
    }

    #[test]
    fn work_that_ends_is_done() {
        assert_eq!(run(allowed(60.0), || vec![1; 1000].len()), Ok(1000));
        assert!(run(allowed(60.0), || panic!("no")).unwrap_err().contains("no"));
    }

    #[test]
    fn waiting_takes_no_time() {
        let slept = run(allowed(0.1), || {
            for _ in 0..20 {
                thread::sleep(Duration::from_millis(20));
                (0..300).for_each(|n| drop(std::hint::black_box(Box::new(n)))); // the clock is looked at
            }
        });
        assert_eq!(slept, Ok(()));
    }

    #[test]
    fn endless_work_is_left() {
        let endless = run(allowed(0.3), || loop {
            std::hint::black_box(Box::new(1));
        });
        assert!(endless.unwrap_err().contains("longer"));
    }

    #[test]
    fn memory_ends_before_the_machine_has_none() {
        let large = run(allowed(60.0), || vec![1u8; 2 * MEMORY].len());
        assert!(large.unwrap_err().contains("memory"));
        let again = run(allowed(60.0), || (0..1000).map(|_| vec![1u8; MEMORY / 2].len()).sum::<usize>());
        assert_eq!(again, Ok(500 * MEMORY));
    }

    #[test]
    fn stack_ends_before_it_overflows() {
        #[allow(unconditional_recursion)]
        fn deeper(n: u64) -> u64 {
            let boxed = std::hint::black_box(Box::new(n));
            1 + deeper(*boxed + 1)
        }
        let error = run(Allowance { memory: 4 << 30, ..allowed(60.0) }, || deeper(0)).unwrap_err();
        assert!(error.contains("deep"), "{error}");
    }
}
