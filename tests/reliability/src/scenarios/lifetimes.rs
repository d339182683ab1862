//! Threads, processes, and the library's own coming and going.

use std::ffi::{c_int, c_void};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::abi::{
    self, CPU, CUDA, Dtype, Library, Op, Pointer, call, failed, mish, open, status, succeeded,
};
use crate::driver::{self, Place};
use crate::random::Random;
use crate::scenarios::contexts::Ones;
use crate::scenarios::launch::Pair;

const NULL: Pointer = std::ptr::null_mut();

/// Elements of a call that the CPU backend splits over threads.
const LARGE: usize = 300_000;

/// Runs one large call on the CPU and checks its result.
#[track_caller]
fn large_on_cpu(library: &Library, x: &[f32], y: &mut [f32]) {
    y.fill(9.0);
    let (p, q) = (
        x.as_ptr().cast_mut().cast(),
        y.as_mut_ptr().cast::<c_void>(),
    );
    // SAFETY: as long as stated.
    let code = unsafe { (library.mish_forward)(CPU, Dtype::F32 as i32, p, q, x.len(), NULL) };
    assert_eq!(code, status::OK);
    assert!(y.iter().all(|&y| (y - 0.865_098_4).abs() < 1e-6));
}

/// The very first calls of a process come from many threads at once.
pub fn first_use() {
    const THREADS: usize = 32;
    driver::init();
    let context = driver::create_context(0);
    let ones: Vec<Ones> = (0..THREADS).map(|_| Ones::new(Place::Device)).collect();
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for (i, ones) in ones.iter().enumerate() {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                let (x, y) = (ones.x.pointer(), ones.y.pointer());
                match i % 4 {
                    // SAFETY: plain values and variables.
                    0 => unsafe {
                        let mut count = 0;
                        succeeded((mish().mish_device_count)(CUDA, &mut count));
                        assert_eq!(count, 2);
                    },
                    // SAFETY: as above.
                    1 => unsafe {
                        assert!(!(mish().mish_build_info)().is_null());
                    },
                    _ => {}
                }
                succeeded(call(Op::Forward, CUDA, Dtype::F32, &[x, y], 100, NULL));
                ones.done();
                assert_eq!(driver::current(), 0);
            });
        }
    });
    assert_eq!(driver::calls("cuModuleLoadData"), 1, "loaded once");
    assert_eq!(driver::modules(), 1);
    driver::destroy_context(context);
}

/// 64 threads of everything at once: both backends, two devices, errors in between.
pub fn many_threads() {
    const THREADS: usize = 64;
    driver::init();
    let contexts = [0, 1, 0].map(driver::create_context);
    let calls = AtomicU64::new(0);
    let rounds = if super::is_full() { 2_000 } else { 60 };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let calls = &calls;
            scope.spawn(move || {
                let mut random = Random(1000 + thread as u64);
                let context = contexts[thread % contexts.len()];
                driver::set_current(context);
                let stream = match thread % 4 {
                    0 => NULL,
                    1 => 2 as Pointer,
                    _ => driver::create_stream(),
                };
                let large = vec![1_f32; LARGE];
                let mut result = vec![0_f32; LARGE];
                let op = random.choose(&Op::ALL);
                let dtype = random.choose(&Dtype::ALL);
                let size = dtype.size();
                let pair = Pair::new(op, dtype, 4096, Place::Device, &mut random);
                for round in 0..rounds {
                    let n = 1 + random.below(400) as usize;
                    let offset = random.below(8) as usize * size;
                    pair.check(n, &[offset; 5], stream);
                    pair.check(n.min(200), &[0, size, 0, size, size], stream);
                    assert_eq!(driver::current(), context);
                    // A message of this thread's own.
                    let bad = 0x7000_0000 + thread as i32;
                    failed(
                        abi::call_raw(op, CPU, bad, &pair.device(&[0; 5]), n, NULL),
                        3,
                        &bad.to_string(),
                    );
                    if thread % 8 == 0 && round % 8 == 0 {
                        // SAFETY: a plain value.
                        succeeded(unsafe { (mish().mish_set_num_threads)(round % 5) });
                        large_on_cpu(mish(), &large, &mut result);
                    }
                    calls.fetch_add(3, Ordering::Relaxed);
                }
                driver::set_current(0);
            });
        }
    });
    println!(
        "{} calls from {THREADS} threads",
        calls.load(Ordering::Relaxed)
    );
    for context in contexts {
        driver::destroy_context(context);
    }
    // A small stack does. musl's default is 128 KiB.
    let small = std::thread::Builder::new().stack_size(64 * 1024);
    let thread = small.spawn(|| {
        for op in Op::ALL {
            for dtype in Dtype::ALL {
                let mut memory = vec![0_f64; 5 * 4096];
                let pointers: Vec<Pointer> = (0..5)
                    .map(|i| memory[i * 4096..].as_mut_ptr().cast())
                    .collect();
                succeeded(call(op, CPU, dtype, &pointers, 4096, NULL));
                failed(
                    call(op, CPU, dtype, &[NULL; 5], 4096, NULL),
                    status::NULL_POINTER,
                    "",
                );
            }
        }
    });
    thread.expect("a thread").join().expect("a small stack");
}

/// Forks, runs `child` there, and returns how it ended: its exit code, or minus a signal.
fn in_child(child: impl FnOnce()) -> i32 {
    // SAFETY: the child only runs the closure and leaves without unwinding.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: leaves at once.
        unsafe { libc::_exit(if outcome.is_ok() { 0 } else { 1 }) };
    }
    let since = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: this process's own child.
        if unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == pid {
            return match libc::WIFEXITED(status) {
                true => libc::WEXITSTATUS(status),
                false => -libc::WTERMSIG(status),
            };
        }
        if since.elapsed() > Duration::from_secs(30) {
            // SAFETY: as above.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many threads this process has.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("this process")
        .count()
}

/// A child of a process that has used both backends: CUDA says what is wrong, the CPU works, with
/// threads of its own.
pub fn fork() {
    let x = vec![1_f32; LARGE];
    let mut y = vec![0_f32; LARGE];
    // SAFETY: a plain value.
    succeeded(unsafe { (mish().mish_set_num_threads)(3) });
    // Before CUDA is used: the child may use it.
    large_on_cpu(mish(), &x, &mut y);
    let code = in_child(|| {
        assert_eq!(threads(), 1, "a fork's child starts with one");
        large_on_cpu(mish(), &x, &mut y);
        assert_eq!(threads(), 3, "threads of its own");
        driver::init();
        driver::create_context(0);
        Ones::new(Place::Device).check(NULL);
    });
    assert_eq!(code, 0, "a fork before the first use of CUDA");

    driver::init();
    let context = driver::create_context(0);
    let ones = Ones::new(Place::Device);
    ones.check(NULL);
    let code = in_child(|| {
        for _ in 0..3 {
            let (p, q) = (ones.x.pointer(), ones.y.pointer());
            let code = call(Op::Forward, CUDA, Dtype::F32, &[p, q], 9, NULL);
            failed(code, status::DRIVER_ERROR, "forked");
            // SAFETY: plain values and a variable.
            unsafe {
                failed((mish().mish_warmup)(CUDA, 0), status::DRIVER_ERROR, "spawn");
                let mut count = 7;
                failed(
                    (mish().mish_device_count)(CUDA, &mut count),
                    status::DRIVER_ERROR,
                    "forked",
                );
                assert_eq!(count, 7);
            }
            large_on_cpu(mish(), &x, &mut y);
        }
        // A grandchild too.
        assert_eq!(in_child(|| large_on_cpu(mish(), &x, &mut y)), 0);
    });
    assert_eq!(code, 0, "a fork after the first use of CUDA");
    // The parent goes on.
    ones.check(NULL);
    large_on_cpu(mish(), &x, &mut y);
    driver::destroy_context(context);
}

/// A fork of a process in which the driver is loaded, by the caller and by the library itself, and
/// not initialised: the child may use it. Its own child may not.
pub fn fork_when_loaded() {
    let host = Ones::new(Place::Host);
    let on_cpu = || {
        let (x, y) = (host.x.pointer(), host.y.pointer());
        host.y.reset();
        succeeded(call(Op::Forward, CPU, Dtype::F32, &[x, y], 100, NULL));
        host.done();
    };
    let refused = |expected| {
        let (x, y) = (host.x.pointer(), host.y.pointer());
        let code = call(Op::Forward, CUDA, Dtype::F32, &[x, y], 100, NULL);
        failed(code, expected, "forked");
        on_cpu();
    };
    let uses_it = || {
        on_cpu();
        driver::init();
        let context = driver::create_context(0);
        let ones = Ones::new(Place::Device);
        ones.check(NULL);
        // The library knows device memory from the host's.
        let (x, y) = (ones.x.pointer(), ones.y.pointer());
        failed(
            call(Op::Forward, CPU, Dtype::F32, &[x, y], 9, NULL),
            status::NOT_HOST_POINTER,
            "x: ",
        );
        let code = in_child(|| refused(status::DRIVER_ERROR));
        assert_eq!(code, 0, "a fork of the child");
        ones.check(NULL);
        driver::destroy_context(context);
    };
    // Loaded by the caller; the library has seen it in a CPU call.
    driver::driver();
    on_cpu();
    assert_eq!(in_child(uses_it), 0, "loaded by the caller");
    // Loaded by the library, which could not initialise it.
    driver::fail("cuInit", 1, 999, false);
    // SAFETY: plain values.
    failed(
        unsafe { (mish().mish_warmup)(CUDA, 0) },
        status::NO_DRIVER,
        "999",
    );
    assert_eq!(in_child(uses_it), 0, "loaded by the library");
    // Initialised by the caller. The library knows it from a CPU call; else the driver tells.
    let code = in_child(|| {
        driver::init();
        assert_eq!(in_child(|| refused(status::NO_DRIVER)), 0, "not noticed");
        on_cpu();
        assert_eq!(in_child(|| refused(status::DRIVER_ERROR)), 0, "noticed");
    });
    assert_eq!(code, 0, "initialised by the caller");
    uses_it();
}

/// Uses the pool, forks, and uses it in the child, where `id` must be this process's.
fn parent_and_child_use_the_pool() {
    let x = vec![1_f32; LARGE];
    let mut y = vec![0_f32; LARGE];
    // SAFETY: a plain value.
    succeeded(unsafe { (mish().mish_set_num_threads)(3) });
    large_on_cpu(mish(), &x, &mut y);
    driver::init();
    // SAFETY: plain values.
    succeeded(unsafe { (mish().mish_warmup)(CUDA, 0) });
    let id = std::process::id();
    let is_alone = std::env::var_os(NAMESPACES).is_some();
    if is_alone {
        // SAFETY: changes what the next child is.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
    }
    let code = in_child(|| {
        assert_eq!(std::process::id(), id, "the same id");
        large_on_cpu(mish(), &x, &mut y);
        // SAFETY: plain values.
        let code = unsafe { (mish().mish_warmup)(CUDA, 0) };
        failed(code, status::DRIVER_ERROR, "forked");
    });
    assert_eq!(code, 0, "a child with its parent's id");
    if !is_alone {
        large_on_cpu(mish(), &x, &mut y);
    }
}

const NAMESPACES: &str = "MISH_RELIABILITY_NAMESPACES";

/// A child whose process id is its parent's, as far as it can tell: the system's answer is 0 to
/// everyone.
pub fn fork_with_equal_ids() {
    let is_getpid = libc::SYS_getpid as u32;
    let statement = |code: u32, jt: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf: 0,
        k,
    };
    // If the call is getpid, skip the statement that allows it.
    let mut statements = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, is_getpid),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO),
    ];
    let program = libc::sock_fprog {
        len: statements.len() as u16,
        filter: statements.as_mut_ptr(),
    };
    // Before there are other threads, whom it would not bind. SAFETY: a filter as it must be.
    let is_filtered = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    };
    if !is_filtered {
        let error = std::io::Error::last_os_error();
        let reason = format!("no system call filter ({error})");
        crate::runner::skipped("process: fork, equal process ids", &reason);
        return;
    }
    assert_eq!(std::process::id(), 0, "the filter answers");
    parent_and_child_use_the_pool();
}

/// The first process of a PID namespace, forked by the first of another.
pub fn fork_in_namespaces() {
    // SAFETY: changes what the next child is.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        let error = std::io::Error::last_os_error();
        let reason = format!("unshare(CLONE_NEWPID): {error}");
        crate::runner::skipped("process: fork in nested namespaces", &reason);
        return;
    }
    // SAFETY: there are no other threads.
    unsafe { std::env::set_var(NAMESPACES, "1") };
    let code = in_child(|| {
        assert_eq!(std::process::id(), 1);
        parent_and_child_use_the_pool();
    });
    assert_eq!(code, 0, "nested namespaces");
}

/// Forks while other threads are in the middle of calls, and change the pool.
pub fn fork_amid_calls() {
    let x = vec![1_f32; LARGE];
    let mut y = vec![0_f32; LARGE];
    // Before the first fork: a child would wait for the thread that is loading the library.
    mish();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (x, stop) = (&x, &stop);
            scope.spawn(move || {
                let mut y = vec![0_f32; LARGE];
                let mut round = thread;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    // SAFETY: a plain value.
                    unsafe { (mish().mish_set_num_threads)(2 + round % 3) };
                    large_on_cpu(mish(), x, &mut y);
                }
            });
        }
        let mut outcomes = Vec::new();
        for _ in 0..if super::is_full() { 2_000 } else { 60 } {
            outcomes.push(in_child(|| large_on_cpu(mish(), &x, &mut y)));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(|&code| code == 0), "{outcomes:?}");
    });
}

const INNER: &str = "MISH_RELIABILITY_INNER";

/// Runs this scenario again as a process of its own, which then takes the other branch.
fn again(scenario: &str, how: &str) -> std::process::Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["child", scenario])
        .env(INNER, how)
        .output()
        .expect("the same program runs")
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// `main` returns.
    Return,
    /// `exit` on the main thread.
    Exit,
    /// `exit` on another thread, while the main thread is in the middle of calls, too.
    ExitElsewhere,
    /// `quick_exit`, which runs its own handlers and no destructors.
    QuickExit,
}

const ENDINGS: [Ending; 4] = [
    Ending::Return,
    Ending::Exit,
    Ending::ExitElsewhere,
    Ending::QuickExit,
];

/// Calls in handlers that run at the end and in destructors of thread-local values, and a process
/// that ends in each way while threads are in the middle of calls.
pub fn exit_while_calling() {
    const NAME: &str = "process: exit while calling";
    if let Ok(how) = std::env::var(INNER) {
        return leave(ENDINGS[how.parse::<usize>().expect("a number")]);
    }
    let rounds = if super::is_full() { 75 } else { 6 };
    for _ in 0..rounds {
        for (number, ending) in ENDINGS.iter().enumerate() {
            let output = again(NAME, &number.to_string());
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            let status = output.status;
            assert!(status.success(), "{ending:?}: {status}: {text}{errors}");
            // Only `main` itself says this.
            let returned = matches!(ending, Ending::Return);
            assert_eq!(text.contains("done\n"), returned, "{ending:?}: {text}");
            // The message of a thread may go before its other values do; the status does not.
            for line in [
                "at the end of a thread: 0 ",
                "at the end of a process: 0 0\n",
            ] {
                assert_eq!(text.matches(line).count(), 1, "{ending:?}: {text}{errors}");
            }
        }
    }
}

/// Calls the library; says what came of it.
fn last_calls(place: &str) {
    let (mut x, mut y) = (1_f32, 0_f32);
    let (p, q) = ((&raw mut x).cast(), (&raw mut y).cast());
    let host = call(Op::Forward, CPU, Dtype::F32, &[p, q], 1, NULL);
    let bad = call(Op::Forward, CPU, Dtype::F32, &[NULL, q], 1, NULL);
    let device = call(Op::Forward, CUDA, Dtype::F32, &[p, q], 1, NULL);
    assert_eq!((bad, device), (1, status::NOT_DEVICE_POINTER));
    let message = abi::last_error().is_empty();
    let line = format!("at the end of a {place}: {host} {}\n", i32::from(message));
    // Not through the buffer, which `quick_exit` does not flush.
    // SAFETY: as long as stated.
    unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
}

extern "C" fn at_exit() {
    last_calls("process");
}

/// Calls the library when its thread ends.
struct AtThreadEnd;

impl Drop for AtThreadEnd {
    fn drop(&mut self) {
        last_calls("thread");
    }
}

thread_local! {
    static LAST: AtThreadEnd = const { AtThreadEnd };
}

unsafe extern "C" {
    fn quick_exit(status: c_int) -> !;
    fn at_quick_exit(handler: extern "C" fn()) -> c_int;
}

/// Calls without end.
fn keep_calling(device: i32) -> ! {
    let x = vec![1_f32; LARGE];
    let mut y = vec![0_f32; LARGE];
    let (p, q) = (x.as_ptr().cast_mut().cast(), y.as_mut_ptr().cast());
    loop {
        call(Op::Forward, device, Dtype::F32, &[p, q], LARGE, NULL);
    }
}

fn leave(ending: Ending) {
    // SAFETY: a function without arguments that does not unwind.
    unsafe {
        libc::atexit(at_exit);
        at_quick_exit(at_exit);
    }
    driver::init();
    driver::create_context(0);
    let ones = Ones::new(Place::Device);
    ones.check(NULL);
    // Leave the memory be: the threads use it.
    std::mem::forget(ones);
    // A thread whose values are destroyed before or after the library's own.
    let thread = std::thread::spawn(|| {
        LAST.with(|_| ());
        let code = call(Op::Forward, CPU, Dtype::F32, &[NULL; 2], 1, NULL);
        assert_eq!(code, status::NULL_POINTER);
    });
    thread.join().expect("ends well");
    for thread in 0..4 {
        std::thread::spawn(move || keep_calling([CPU, CUDA][thread % 2]));
    }
    let soon = Duration::from_millis(6);
    match ending {
        Ending::Return => std::thread::sleep(soon),
        Ending::Exit => {
            std::thread::sleep(soon);
            // SAFETY: ends the process from here, handlers included.
            unsafe { libc::exit(0) }
        }
        Ending::ExitElsewhere => {
            std::thread::spawn(move || {
                std::thread::sleep(soon);
                // SAFETY: as above.
                unsafe { libc::exit(0) }
            });
            keep_calling(CPU);
        }
        Ending::QuickExit => {
            std::thread::sleep(soon);
            // SAFETY: as above, with the handlers for this.
            unsafe { quick_exit(0) }
        }
    }
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// How the process handles each signal.
fn dispositions() -> Vec<usize> {
    (1..32)
        .map(|signal| {
            // SAFETY: only reads.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut action);
                action.sa_sigaction
            }
        })
        .collect()
}

/// Signals that arrive in the middle of calls change nothing, and the library changes nothing
/// about signals.
pub fn signals() {
    let before = dispositions();
    driver::init();
    let context = driver::create_context(0);
    let ones = Ones::new(Place::Device);
    let x = vec![1_f32; LARGE];
    let mut y = vec![0_f32; LARGE];
    ones.check(NULL);
    large_on_cpu(mish(), &x, &mut y);
    assert_eq!(before, dispositions(), "a signal handler was changed");
    // SAFETY: installs a handler that only counts, and a timer that fires every millisecond.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        // No SA_RESTART: system calls are interrupted.
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        let every = libc::timeval {
            tv_sec: 0,
            tv_usec: 500,
        };
        let timer = libc::itimerval {
            it_interval: every,
            it_value: every,
        };
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
    }
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(700) {
        ones.check(NULL);
        large_on_cpu(mish(), &x, &mut y);
    }
    // SAFETY: stops the timer.
    unsafe {
        let timer: libc::itimerval = std::mem::zeroed();
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
    }
    let signals = SIGNALS.load(Ordering::Relaxed);
    println!("{signals} signals");
    assert!(signals > 100, "{signals}");
    driver::destroy_context(context);
}

/// The library is closed while its threads wait for work, and opened again: it stays in memory,
/// where its threads run on, and what is opened is the same one again, with the same state.
pub fn reload() {
    driver::init();
    let context = driver::create_context(0);
    let x = vec![1_f32; LARGE];
    let mut y = vec![0_f32; LARGE];
    let ones = Ones::new(Place::Device);
    let (mut first, mut place) = (0, None);
    for round in 0..50 {
        let (library, table) = open();
        let here = table.mish_forward as usize;
        assert_eq!(*place.get_or_insert(here), here, "another copy was loaded");
        // On a thread that ends, so that nothing of it keeps the library.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: plain values.
                assert_eq!(unsafe { (table.mish_set_num_threads)(4) }, 0);
                large_on_cpu(&table, &x, &mut y);
                // SAFETY: the operands are as long as stated.
                let code = unsafe {
                    let (p, q) = (ones.x.pointer(), ones.y.pointer());
                    (table.mish_forward)(CUDA, Dtype::F32 as i32, p, q, 100, NULL)
                };
                assert_eq!(code, status::OK);
                ones.done();
                ones.y.reset();
                // SAFETY: NULL is an argument that is refused.
                let code = unsafe { (table.mish_forward)(CPU, 3, NULL, NULL, 1, NULL) };
                assert_eq!(code, status::NULL_POINTER);
            });
        });
        library.close().expect("closes");
        assert!(is_mapped(here), "unmapped, with threads that run its code");
        // What is left of it wakes up now.
        std::thread::sleep(Duration::from_millis(2));
        let bytes = allocated();
        match round {
            0..5 => first = bytes,
            _ => assert!(bytes < first + 64 * 1024, "{first} bytes, then {bytes}"),
        }
    }
    // A fork finds no handler that went with the library.
    let code = in_child(|| large_on_cpu(mish(), &x, &mut y));
    assert_eq!(code, 0, "a fork after the library was closed");
    driver::destroy_context(context);
}

/// Whether there is code at an address.
fn is_mapped(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("two addresses");
        let number = |text| usize::from_str_radix(text, 16).expect("a number");
        (number(start)..number(end)).contains(&address) && rest.starts_with("r-x")
    })
}

/// Bytes that the process's allocator has given out.
fn allocated() -> usize {
    // SAFETY: only reads.
    unsafe { libc::mallinfo2() }.uordblks
}

/// Memory does not grow with calls, good or bad.
pub fn leaks() {
    driver::init();
    let contexts = [0, 1].map(driver::create_context);
    let ones = Ones::new(Place::Device);
    let host = Ones::new(Place::Host);
    let pool = Ones::new(Place::Pool);
    let (x, y) = (ones.x.pointer(), ones.y.pointer());
    let round = |i: u32| {
        let (p, q) = (host.x.pointer(), host.y.pointer());
        let f32 = Dtype::F32;
        let code = match i % 10 {
            0..3 => call(Op::Forward, CPU, f32, &[p, q], 64, NULL),
            3 | 4 => call(Op::Forward, CUDA, f32, &[x, y], 64, NULL),
            5 => {
                let (p, q) = (pool.x.pointer(), pool.y.pointer());
                call(Op::Forward, CUDA, f32, &[p, q], 64, NULL)
            }
            // Failures, whose messages are kept.
            6 => {
                1 - i32::from(
                    call(Op::Forward, CPU, f32, &[NULL, q], 64, NULL) == status::NULL_POINTER,
                )
            }
            7 => {
                1 - i32::from(
                    call(Op::Forward, CUDA, f32, &[p, y], 64, NULL) == status::NOT_DEVICE_POINTER,
                )
            }
            8 => {
                1 - i32::from(
                    call(Op::Forward, CPU, f32, &[p, y], 64, NULL) == status::NOT_HOST_POINTER,
                )
            }
            _ => 1 - i32::from(call(Op::Forward, CUDA, f32, &[x, y], 5000, NULL) != status::OK),
        };
        assert_eq!(code, 0, "call {i}: {}", abi::last_error());
    };
    (0..1000).for_each(round);
    let (before, modules) = (allocated(), driver::modules());
    (0..1_000_000).for_each(round);
    let after = allocated();
    println!("{before} bytes, then {after}");
    assert!(
        after < before + 4096,
        "grew from {before} to {after} bytes in a million calls"
    );
    assert_eq!(driver::modules(), modules);
    for context in contexts {
        driver::destroy_context(context);
    }
}

/// A function of the library that only its test hooks have.
fn hook<F: Copy>(name: &str) -> F {
    let path = std::env::var("MISH_LIBRARY").expect("MISH_LIBRARY");
    // SAFETY: the library is loaded already; the signature is the hook's.
    unsafe {
        let library = libloading::Library::new(path).expect("the library opens");
        let hook = *library
            .get::<F>(name.as_bytes())
            .expect("built with the test-hooks feature");
        std::mem::forget(library);
        hook
    }
}

/// What the handler below saw.
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn fail_in_handler(_: c_int) {
    let code = abi::call_raw(Op::Forward, CPU, 0x0bad, &[NULL; 2], 1, NULL);
    let is_told = abi::last_error().contains(&0x0bad.to_string());
    HANDLED.fetch_add(u64::from(code == 3 && is_told), Ordering::Relaxed);
}

/// A signal handler that makes a failing call interrupts a failing call, before and after it has
/// put its message in its place; the first failure of a thread and later ones.
pub fn failing_in_handlers() {
    let raise_at = hook::<unsafe extern "C" fn(u32, i32)>("mish_test_raise_at");
    let handler = fail_in_handler as *const () as usize;
    // SAFETY: the handler calls nothing that the interrupted code, which the hook chooses, is in.
    unsafe { libc::signal(libc::SIGUSR1, handler) };
    let mut expected = 0;
    for (place, last) in [(5, 0x0c0d), (6, 0x0bad)] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    // SAFETY: plain values.
                    unsafe { raise_at(place, libc::SIGUSR1) };
                    let code = abi::call_raw(Op::Forward, CPU, 0x0c0d, &[NULL; 2], 1, NULL);
                    failed(code, 3, &i32::to_string(&last));
                    expected += 1;
                    assert_eq!(HANDLED.load(Ordering::Relaxed), expected);
                }
            });
        });
    }
}

/// A panic anywhere inside is a status of the call, and the next call works.
pub fn panic() {
    let arm = hook::<unsafe extern "C" fn(u32)>("mish_test_panic_at");
    // Nothing is printed by the forced panics but what the hook in this process prints.
    driver::init();
    // SAFETY: a plain value.
    succeeded(unsafe { (mish().mish_set_num_threads)(4) });
    let x = vec![1_f32; LARGE];
    let mut y = vec![0_f32; LARGE];
    for round in 0..10 {
        let context = driver::create_context(0);
        let ones = Ones::new(Place::Device);
        let before = (driver::modules(), driver::current());
        let stream = driver::create_stream();
        driver::set_current(0);
        // In the child of a panic the entry point's own name is in the message.
        for (place, name) in [(1, "Entry"), (3, "DeviceCall"), (4, "Loading")] {
            // SAFETY: a plain value.
            unsafe { arm(place) };
            ones.refused(stream, status::INTERNAL, name);
            assert_eq!(driver::modules(), before.0, "a module is left");
            let mut mode = 0;
            // SAFETY: valid for reading and writing.
            driver::ok(unsafe { (driver::driver().cuThreadExchangeStreamCaptureMode)(&mut mode) });
            assert_eq!(mode, 0, "the thread's capture mode is left changed");
        }
        ones.check(stream);
        // SAFETY: plain values.
        unsafe {
            arm(1);
            failed((mish().mish_warmup)(CPU, 0), status::INTERNAL, "Entry");
            arm(2);
        }
        let (p, q) = (x.as_ptr().cast_mut().cast(), y.as_mut_ptr().cast());
        failed(
            call(Op::Forward, CPU, Dtype::F32, &[p, q], LARGE, NULL),
            status::INTERNAL,
            "HostWork",
        );
        large_on_cpu(mish(), &x, &mut y);
        assert!(round < 10);
        driver::destroy_context(context);
    }
}
