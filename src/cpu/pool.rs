//! The library's own threads.
//!
//! A call takes the helpers that are free, as many as its work feeds, and does what they leave. It
//! waits for nobody who has not begun: neither for another call, nor for a helper that is still
//! waking up, whose part it takes back. It runs nothing but its own work. There is no lock on the
//! way, so that neither a signal nor a fork in the midst of a call leaves one behind.
//!
//! A helper without work looks for some for [`AWAKE`], then sleeps. Waking it costs the caller some
//! microseconds at once and brings help long after; that is done for much work, and where calls
//! follow each other so closely that the next one finds the helper awake.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::fork::fork_generation;

/// For how long a helper without work stays awake.
const AWAKE: Duration = Duration::from_micros(100);

/// For how long a call spins for the end of another thread's part before it sleeps.
const PATIENCE: Duration = Duration::from_micros(50);

/// The work, in nanoseconds of one thread, for which one more sleeping helper is woken: some 5 µs of
/// the caller's time, and it comes about 30 µs later.
const WORK_PER_WAKING: u64 = 60_000;

/// The helpers of this process; a fork's child makes its own, since threads stay in the parent.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

struct Pool {
    /// [`fork_generation`] of the process that has the threads.
    generation: u64,
    /// The first of the helpers, which are never removed.
    first: AtomicPtr<Helper>,
    count: AtomicUsize,
    /// The start of the clock below.
    since: Instant,
    /// When a call last lacked a helper, in nanoseconds.
    lacked: AtomicU64,
}

/// A call's work, on its stack.
#[repr(align(8))]
struct Job<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Payload>>,
}

type Payload = Box<dyn Any + Send>;

/// What a helper is about is one word: nothing, sleep, or the address of a job with one of these
/// added. A job's caller does not return before the word is another.
struct State(AtomicPtr<Job<'static>>);

type Word = *mut Job<'static>;

const IDLE: Word = ptr::null_mut();
const ASLEEP: Word = ptr::without_provenance_mut(1);
/// Added to a job that a helper has begun.
const BEGUN: usize = 1;
/// Added to one whose caller sleeps until it is done.
const AWAITED: usize = 2;

impl State {
    fn get(&self) -> Word {
        self.0.load(Acquire)
    }

    /// From one word to another, unless it is a third by now.
    fn change(&self, from: Word, to: Word) -> bool {
        self.0.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
    }
}

/// A thread and what others tell it. On lines of its own, of which it watches one.
#[repr(align(128))]
struct Helper {
    state: State,
    /// From 1.
    number: usize,
    next: AtomicPtr<Helper>,
    /// Set before others see the helper.
    thread: OnceLock<Thread>,
    lock: Mutex<()>,
    done: Condvar,
}

/// Runs `work` on this thread and on up to `helpers` others at once. Any number of calls of it must
/// do the whole; it is told a number of the thread it is called on, 0 for this one.
/// `nanoseconds` is what one thread would take.
pub(super) fn run(helpers: usize, nanoseconds: u64, work: &(dyn Fn(usize) + Sync)) {
    Pool::current().run(helpers, nanoseconds, work);
}

impl Pool {
    fn run(&self, helpers: usize, nanoseconds: u64, work: &(dyn Fn(usize) + Sync)) {
        let job = Job {
            work,
            panic: Mutex::new(None),
        };
        // Outlived by nobody who has this: `finish` sees to it.
        let word: Word = ptr::from_ref(&job).cast_mut().cast();
        let awake = self.claim(word, helpers, IDLE);
        let lacking = helpers - awake;
        let woken = match lacking {
            0 => 0,
            _ => self.wake(word, lacking.min(self.worth_waking(nanoseconds)), helpers),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(0)));
        if awake + woken > 0 {
            // Takes the job back from helpers that have not begun it, and waits for the others.
            self.helpers().for_each(|helper| helper.finish(word));
        }
        if lacking > 0 {
            self.lacked.store(self.now(), Relaxed);
        }
        let panic = job
            .panic
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(payload) = outcome.err().or(panic) {
            resume_unwind(payload);
        }
    }

    fn new(generation: u64) -> Self {
        Pool {
            generation,
            first: AtomicPtr::new(ptr::null_mut()),
            count: AtomicUsize::new(0),
            since: Instant::now(),
            lacked: AtomicU64::new(0),
        }
    }

    fn current() -> &'static Pool {
        let generation = fork_generation();
        let found = POOL.load(Acquire);
        // SAFETY: NULL, or a pool, which is never freed.
        if let Some(pool) = unsafe { found.as_ref() }
            && pool.generation == generation
        {
            return pool;
        }
        let new = Box::into_raw(Box::new(Pool::new(generation)));
        match POOL.compare_exchange(found, new, AcqRel, Acquire) {
            // SAFETY: as above. The parent's, which may be in use there, is left alone.
            Ok(_) => unsafe { &*new },
            Err(others) => {
                // SAFETY: made above and seen by nobody.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: another thread's, as above.
                unsafe { &*others }
            }
        }
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }

    fn helpers(&self) -> impl Iterator<Item = &'static Helper> {
        // SAFETY: NULL, or a helper, which is never freed.
        let at = |pointer: &AtomicPtr<Helper>| unsafe { pointer.load(Acquire).as_ref() };
        std::iter::successors(at(&self.first), move |helper| at(&helper.next))
    }

    /// Gives the job to up to `most` helpers that are in this state; returns to how many.
    fn claim(&self, job: Word, most: usize, state: Word) -> usize {
        let free =
            |helper: &&Helper| helper.state.get() == state && helper.state.change(state, job);
        let claimed = self.helpers().filter(free).take(most);
        claimed.inspect(|helper| helper.wake_from(state)).count()
    }

    /// How many sleeping helpers are worth waking.
    fn worth_waking(&self, nanoseconds: u64) -> usize {
        let for_this = nanoseconds / WORK_PER_WAKING;
        let lacked = self.lacked.load(Relaxed);
        let is_next = lacked > 0 && self.now().saturating_sub(lacked) < AWAKE.as_nanos() as u64;
        (for_this as usize).max(usize::from(is_next))
    }

    /// Gives the job to up to `most` helpers that sleep or, while there are fewer than `limit`, do
    /// not exist yet; returns to how many.
    fn wake(&self, job: Word, most: usize, limit: usize) -> usize {
        let mut woken = match most {
            0 => 0,
            _ => self.claim(job, most, ASLEEP),
        };
        while woken < most && self.grow(job, limit) {
            woken += 1;
        }
        woken
    }

    /// Starts a helper with this job, unless there are `limit` or none can be had.
    fn grow(&self, job: Word, limit: usize) -> bool {
        let add = |count| (count < limit).then_some(count + 1);
        let Ok(count) = self.count.fetch_update(Relaxed, Relaxed, add) else {
            return false;
        };
        let new = Box::into_raw(Box::new(Helper::new(count + 1, job)));
        // SAFETY: freed below only if no thread has it.
        let helper: &'static Helper = unsafe { &*new };
        let thread = std::thread::Builder::new()
            .name("mish".into())
            // Given, so that the standard library does not look for a variable that says it.
            .stack_size(1 << 20)
            .spawn(|| helper.serve());
        match thread {
            Ok(thread) => {
                let _ = helper.thread.set(thread.thread().clone());
                self.add(new);
                true
            }
            Err(_) => {
                // SAFETY: made above; the thread that would have had it does not exist.
                drop(unsafe { Box::from_raw(new) });
                self.count.fetch_sub(1, Relaxed);
                false
            }
        }
    }

    /// Puts a helper first.
    fn add(&self, new: *mut Helper) {
        let link = |first| {
            // SAFETY: never freed from now on.
            unsafe { &*new }.next.store(first, Relaxed);
            Some(new)
        };
        let _ = self.first.fetch_update(Release, Relaxed, link);
    }
}

impl Helper {
    fn new(number: usize, job: Word) -> Self {
        Helper {
            number,
            state: State(AtomicPtr::new(job)),
            next: AtomicPtr::new(ptr::null_mut()),
            thread: OnceLock::new(),
            lock: Mutex::new(()),
            done: Condvar::new(),
        }
    }

    /// Tells a helper that was in this state that it is in another.
    fn wake_from(&self, state: Word) {
        if state == ASLEEP
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn finish(&self, job: Word) {
        let (begun, awaited) = (job.wrapping_byte_add(BEGUN), job.wrapping_byte_add(AWAITED));
        // A helper that was woken for it finds nothing and stays awake for a while.
        if self.state.get() == job && self.state.change(job, IDLE) {
            return;
        }
        let mut spin = Spin::new(PATIENCE);
        while self.state.get() == begun {
            if spin.goes_on() {
                continue;
            }
            let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if self.state.change(begun, awaited) {
                while self.state.get() == awaited {
                    guard = self
                        .done
                        .wait(guard)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// A helper's life.
    fn serve(&self) {
        loop {
            let word = self.next_job();
            {
                // SAFETY: its caller waits for the state to change.
                let job = unsafe { &*word };
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (job.work)(self.number))) {
                    *job.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
                }
            }
            if self.state.0.swap(IDLE, AcqRel) == word.wrapping_byte_add(AWAITED) {
                drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
                self.done.notify_all();
            }
        }
    }

    /// Waits for a job and begins it.
    fn next_job(&self) -> Word {
        let mut spin = Spin::new(AWAKE);
        loop {
            match self.state.get() {
                IDLE if spin.goes_on() => {}
                IDLE => {
                    self.state.change(IDLE, ASLEEP);
                }
                ASLEEP => {
                    std::thread::park();
                    spin = Spin::new(AWAKE);
                }
                job => {
                    if self.state.change(job, job.wrapping_byte_add(BEGUN)) {
                        return job;
                    }
                }
            }
        }
    }
}

/// Waiting without sleep, for so short a time that the core is not offered to others: whoever gets
/// it keeps it for much longer.
struct Spin {
    turns: u32,
    since: Option<Instant>,
    limit: Duration,
}

impl Spin {
    fn new(limit: Duration) -> Self {
        Spin {
            turns: 0,
            since: None,
            limit,
        }
    }

    /// Waits for a moment, unless it has been long enough.
    fn goes_on(&mut self) -> bool {
        std::hint::spin_loop();
        self.turns += 1;
        // Reading the clock may take longer than everything else here.
        if !self.turns.is_multiple_of(32) {
            return true;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: u64 = u64::MAX;

    fn new_pool() -> &'static Pool {
        Box::leak(Box::new(Pool::new(0)))
    }

    /// Does `parts` parts, each of which counts itself; returns the counts.
    fn counted(pool: &Pool, helpers: usize, nanoseconds: u64, parts: usize) -> Vec<usize> {
        let counts: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        let next = AtomicUsize::new(0);
        pool.run(helpers, nanoseconds, &|_| {
            while let Some(count) = counts.get(next.fetch_add(1, Relaxed)) {
                count.fetch_add(1, Relaxed);
            }
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_part_once_from_many_callers() {
        let pool = new_pool();
        std::thread::scope(|scope| {
            for caller in 0..6 {
                scope.spawn(move || {
                    for round in 0..300 {
                        // Now and then so late that the helpers sleep.
                        if round % 50 == caller {
                            std::thread::sleep(3 * AWAKE);
                        }
                        let parts = 1 + (caller * 97 + round * 31) % 200;
                        let nanoseconds = if round % 2 == 0 { MUCH } else { 0 };
                        let counts = counted(pool, round % 4, nanoseconds, parts);
                        assert!(counts.iter().all(|&count| count == 1), "{counts:?}");
                    }
                });
            }
        });
        // One pool, whatever numbers were asked for.
        assert!(pool.count.load(Relaxed) <= 3);
        assert!(
            pool.helpers()
                .all(|helper| matches!(helper.state.get(), IDLE | ASLEEP))
        );
    }

    /// Two threads take part: each waits for the other.
    #[test]
    fn a_helper_takes_part() {
        let pool = new_pool();
        let here = AtomicUsize::new(0);
        for round in 1..=20 {
            pool.run(1, MUCH, &|_| {
                here.fetch_add(1, Relaxed);
                while here.load(Relaxed) < 2 * round {
                    std::thread::yield_now();
                }
            });
        }
        assert_eq!(pool.count.load(Relaxed), 1);
    }

    /// Whoever has not begun, such as one that never wakes up, is not waited for.
    #[test]
    fn a_late_helper_is_not_waited_for() {
        let pool = new_pool();
        for state in [IDLE, ASLEEP] {
            let late: &'static Helper = Box::leak(Box::new(Helper::new(1, state)));
            pool.count.fetch_add(1, Relaxed);
            pool.add(ptr::from_ref(late).cast_mut());
            assert_eq!(counted(pool, 1, MUCH, 50), [1; 50]);
            assert_eq!(late.state.get(), IDLE, "the job was given and taken back");
            late.state.change(IDLE, ASLEEP);
        }
    }

    /// Little work wakes nobody, unless the call before it was a moment ago.
    #[test]
    fn waking_is_for_much_work_or_close_calls() {
        let pool = new_pool();
        assert_eq!(pool.worth_waking(WORK_PER_WAKING - 1), 0);
        assert_eq!(pool.worth_waking(5 * WORK_PER_WAKING), 5);
        // As if a call had lacked a helper right now, and long ago.
        pool.lacked.store(u64::MAX, Relaxed);
        assert_eq!(pool.worth_waking(0), 1);
        pool.lacked.store(1, Relaxed);
        std::thread::sleep(AWAKE);
        assert_eq!(pool.worth_waking(0), 0);
    }

    #[test]
    fn a_panic_reaches_the_caller_from_any_thread() {
        let pool = new_pool();
        for panicking in 0..4 {
            let number = AtomicUsize::new(0);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(1, MUCH, &|_| {
                    let own = number.fetch_add(1, Relaxed);
                    while number.load(Relaxed) < 2 {
                        std::thread::yield_now();
                    }
                    // resume_unwind does not print.
                    if own == panicking % 2 {
                        resume_unwind(Box::new("forced"));
                    }
                });
            }));
            let payload = outcome.expect_err("it panicked");
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"forced"));
            assert_eq!(counted(pool, 1, MUCH, 50), [1; 50]);
        }
    }
}
