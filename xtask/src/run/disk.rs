//! Whether the disk is full, which is why most things fail then.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::env::paths;
use crate::run::command::plain;

/// Below this a compiler or an installer has likely met the end; it removes what it had begun.
const LITTLE: u64 = 64 << 20;

static SEEN: AtomicBool = AtomicBool::new(false);

/// After a failure: what to say about the disk in the same line, if it is full.
pub fn full() -> String {
    let folders = [paths::deps(), paths::target().to_path_buf()];
    let Some((folder, free)) = (folders.into_iter())
        .filter_map(|folder| free(&folder).map(|free| (folder, free)))
        .find(|(_, free)| *free < LITTLE)
    else {
        return String::new();
    };
    SEEN.store(true, Ordering::Relaxed);
    format!(
        " (the disk is full: {} MiB left in {})",
        free >> 20,
        folder.display()
    )
}

/// For the closing line: the same, or that it was full when something failed.
pub fn was_full() -> String {
    match full() {
        text if text.is_empty() && SEEN.load(Ordering::Relaxed) => {
            " (the disk was full when something failed)".into()
        }
        text => text,
    }
}

/// Bytes that an ordinary user may still write.
fn free(folder: &Path) -> Option<u64> {
    let table = plain("df", Path::new("/"))
        .words("-P -k")
        .arg(folder)
        .output();
    available(&table.ok()?.1)
}

/// The fourth column of `df -P -k`, in bytes.
fn available(table: &str) -> Option<u64> {
    let cell = table.lines().nth(1)?.split_whitespace().nth(3)?;
    Some(cell.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_left() {
        let table = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                     tmpfs 102400 102396 4 100% /a b\n";
        assert_eq!(available(table), Some(4096));
        assert_eq!(available("df: no such file\n"), None);
        assert!(free(Path::new("/")).is_some());
    }
}
