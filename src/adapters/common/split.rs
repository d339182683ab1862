//! Work on a framework's threads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

/// Work that a framework's threads do in parts, called through its frames: no panic may pass
/// these, so the last one is kept for whoever waits.
pub struct Part<'a> {
    work: &'a (dyn Fn(usize, usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<'a> Part<'a> {
    pub fn new(work: &'a (dyn Fn(usize, usize) + Sync)) -> Self {
        Part {
            work,
            panic: Mutex::new(None),
        }
    }

    /// Does the part from `start` to `end`, on any thread.
    pub fn call(&self, start: usize, end: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.work)(start, end)));
        if let Err(payload) = outcome {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
    }

    /// Goes on with a part's panic, once all are done.
    pub fn finish(self) {
        let panic = self.panic.into_inner();
        if let Some(payload) = panic.unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
}
