//! A fork in the middle of a process's first call: the child's calls find no lock that the parent's
//! had taken. One test: there is one first call.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

const PAGE: usize = 4096;

/// The page that holds the environment's only string; the first call stops where it reads it.
static GUARDED: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// How the child ended.
static STATUS: AtomicI32 = AtomicI32::new(-1);

unsafe extern "C" {
    static mut environ: *const *const c_char;
}

/// Runs where a call has begun to read the environment.
extern "C" fn interrupted(_: c_int) {
    let page = GUARDED.load(Ordering::Relaxed);
    // SAFETY: maps nothing new; the child leaves at once, and is killed if it hangs.
    unsafe {
        libc::mprotect(page, PAGE, libc::PROT_READ);
        let child = libc::fork();
        if child == 0 {
            libc::alarm(20);
            let is_right = mish_of_one() == 0.865_098_4_f32 && !info().is_empty();
            libc::_exit(if is_right { 7 } else { 1 });
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        STATUS.store(status, Ordering::Relaxed);
    }
}

fn mish_of_one() -> f32 {
    let mut y = [0.0];
    mish::forward(&[1.0_f32], &mut y).unwrap();
    (y[0] * 1e7).round() / 1e7
}

fn info() -> &'static [u8] {
    // SAFETY: a static string.
    unsafe { CStr::from_ptr(mish::abi::mish_build_info()) }.to_bytes()
}

#[test]
fn a_fork_amid_the_first_call() {
    // SAFETY: a page of its own, which holds a string when it is made unreadable; no other thread
    // reads the environment meanwhile, which is put back.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(null_mut(), PAGE, access, flags, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        page.cast::<[u8; 4]>().write(*b"A=1\0");
        assert_eq!(libc::mprotect(page, PAGE, libc::PROT_NONE), 0);
        GUARDED.store(page, Ordering::Relaxed);

        let handler: extern "C" fn(c_int) = interrupted;
        let before = libc::signal(libc::SIGSEGV, handler as libc::sighandler_t);
        let guarded = [page.cast_const().cast(), std::ptr::null()];
        let own = environ;
        environ = guarded.as_ptr();
        assert!(!info().is_empty());
        environ = own;
        libc::signal(libc::SIGSEGV, before);
    }
    let status = STATUS.load(Ordering::Relaxed);
    assert!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7,
        "the child ended with {status:#x}; 0xe: it hung, -1: there was none"
    );
    assert_eq!(mish_of_one(), 0.865_098_4);
}
