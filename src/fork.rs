//! Which of the processes that `fork` makes of one this is.
//!
//! Threads, and what a driver set up, stay behind in the parent: what was made before a fork is
//! not there after it. Whoever keeps such a thing keeps the generation it was made in and compares.
//! Process ids would not do: parent and child have the same one when each is the first of a PID
//! namespace of its own.
//!
//! Only `fork` is seen. A child made by `vfork`, `posix_spawn` or `clone` with `CLONE_VM` shares
//! the memory, so nothing is missing there. `_Fork`, and a system call past the C library, leave
//! even its locks as they were: such a child may not call this library, as it may not call
//! `malloc`.

use std::sync::atomic::{AtomicU64, Ordering};

/// 0 until forks are watched.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// A number, never 0, that no ancestor or descendant of this process by `fork` has; async-signal-
/// safe but for the first call.
#[inline]
pub fn fork_generation() -> u64 {
    match GENERATION.load(Ordering::Relaxed) {
        0 => watch(),
        generation => generation,
    }
}

/// Has every fork from here on counted. No lock of this library is held meanwhile, which a fork in
/// another thread would leave locked in its child: two first calls at once count each fork twice,
/// which does no harm.
#[cold]
fn watch() -> u64 {
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only adds to an atomic. The C library knows which library the handler
    // lies in, and drops it when that is unloaded.
    let code = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    if code == 0 {
        let _ = GENERATION.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        return GENERATION.load(Ordering::Relaxed);
    }
    // No memory for the handler: the next call tries again.
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_another_generation() {
        let here = fork_generation();
        assert_ne!(here, 0);
        assert_eq!(fork_generation(), here);
        // SAFETY: the child only reads an atomic and leaves.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let differs = fork_generation() > here;
            // SAFETY: leaves at once.
            unsafe { libc::_exit(if differs { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: this process's own child.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7);
        assert_eq!(fork_generation(), here);
    }
}
