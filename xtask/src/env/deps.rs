//! The ignored folder of what is fetched: each part has a stamp that says what it was made from.
//!
//! By hand: packages come from pip and from apt, and neither renews a folder or waits for another run.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env::paths;

/// The part of this name, fetched if there is none or it was made from something else than
/// `wanted`. `fetch` fills a folder beside it, so that an interruption leaves nothing half done;
/// what it returns is noted behind the stamp.
pub fn ensure(
    name: &str,
    wanted: &str,
    fetch: impl FnOnce(&Path) -> Result<String>,
) -> Result<PathBuf> {
    let folder = paths::deps().join(name);
    let _lock = lock_part(name)?;
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(stamp).is_ok_and(|found| found.starts_with(wanted)) {
        return Ok(folder);
    }
    let partial = paths::deps().join(format!("{name}.partial"));
    remove(&partial)?;
    fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
    let notes = fetch(&partial)?;
    fs::write(partial.join("installed.txt"), format!("{wanted}{notes}"))?;
    remove(&folder)?;
    fs::rename(&partial, &folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// Locks a part against whoever else fetches it: other runs may have another target folder.
pub fn lock_part(name: &str) -> Result<File> {
    lock(&paths::deps().join(format!("{name}.lock")), || {
        println!("waiting for another run, which fetches .deps/{name}");
    })
}

/// Locks a file until what it returns is dropped or the process ends; calls `wait` if that takes
/// its turn.
pub fn lock(path: &Path, wait: impl FnOnce()) -> Result<File> {
    let open = || -> Result<File> {
        fs::create_dir_all(path.parent().context("a folder")?)?;
        let file = File::create(path)?;
        if file.try_lock().is_err() {
            wait();
            file.lock()?;
        }
        Ok(file)
    };
    open().with_context(|| format!("cannot lock {}", path.display()))
}

/// Removes a folder if it is there.
pub fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a script; in it `$here` is the folder in which it lies, wherever that is moved.
pub fn script(file: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(file.with_file_name(""))?;
    fs::write(file, format!("#!/bin/sh\nhere=\"${{0%/*}}\"\n{text}"))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let path = paths::target().join("tmp/lock-test");
        let first = lock(&path, || panic!("nobody else is here")).unwrap();
        let is_released = AtomicBool::new(false);
        let waits = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _second = lock(&path, || waits.store(true, Ordering::SeqCst)).unwrap();
                assert!(is_released.load(Ordering::SeqCst), "did not wait");
            });
            while !waits.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            is_released.store(true, Ordering::SeqCst);
            drop(first);
        });
    }

    #[test]
    fn an_interrupted_fetch_leaves_nothing_and_a_stamp_of_other_pins_is_renewed() {
        let name = "test-of-deps";
        let made = |wanted: &str, content: &str| {
            ensure(name, wanted, |folder| {
                fs::write(folder.join("file"), content)?;
                Ok(String::new())
            })
            .map(|folder| fs::read_to_string(folder.join("file")).unwrap())
        };
        assert!(ensure(name, "1\n", |_| anyhow::bail!("interrupted")).is_err());
        assert!(!paths::deps().join(name).exists());
        assert_eq!(made("1\n", "a").unwrap(), "a");
        assert_eq!(made("1\n", "b").unwrap(), "a");
        assert_eq!(made("2\n", "c").unwrap(), "c");
        remove(&paths::deps().join(name)).unwrap();
        fs::remove_file(paths::deps().join(format!("{name}.lock"))).unwrap();
    }
}
