//! Another implementation of Mish, run by a program that gets inputs and returns results.
//!
//! The program writes one line, its name and version, to standard output. Then, until standard
//! input ends, it reads a length n (8 bytes, little endian) and n elements x, and writes n elements
//! each of mish(x), mish′(x) and mish″(x).

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::catalogue::Dtype;
use crate::format::Element;
use crate::library::Memory;

/// A running program.
pub struct Peer {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it calls itself.
    pub name: String,
}

impl Peer {
    /// Starts a command of the shell, to which the element type's name is added.
    pub fn start(command: &str, dtype: Dtype) -> Result<Peer> {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec {command} {}", dtype.name()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("sh")?;
        let output = child.stdout.take().context("no standard output")?;
        let mut peer = Peer {
            child,
            output: BufReader::new(output),
            name: String::new(),
        };
        peer.output.read_line(&mut peer.name)?;
        peer.name.truncate(peer.name.trim_end().len());
        if peer.name.is_empty() {
            bail!("`{command}` ended before it said its name");
        }
        Ok(peer)
    }

    /// The three functions of the first `n` elements of `x`.
    pub fn run<E: Element>(
        &mut self,
        x: &Memory<E>,
        results: [&mut Memory<E>; 3],
        n: usize,
    ) -> Result<()> {
        let input = self.child.stdin.as_mut().context("no standard input")?;
        input.write_all(&(n as u64).to_le_bytes())?;
        input.write_all(&x.as_bytes()[..n * size_of::<E>()])?;
        input.flush()?;
        for result in results {
            let to = &mut result.as_mut_bytes()[..n * size_of::<E>()];
            self.output.read_exact(to).context("the program ended")?;
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_answers() {
        // Its results are x three times.
        let script = "sh -c 'echo copy 1; for i in 1 2; do \
            head -c 8 >/dev/null; head -c 8 >\"$0\"; cat \"$0\" \"$0\" \"$0\"; done'";
        let file = std::env::temp_dir().join(format!("mish-peer-{}", std::process::id()));
        let command = format!("{script} '{}'", file.display());
        let mut peer = Peer::start(&command, Dtype::F32).expect("a shell");
        assert_eq!(peer.name, "copy 1");
        let mut x = Memory::<f32>::host(2);
        let [mut a, mut b, mut c] = [(); 3].map(|()| Memory::<f32>::host(2));
        for round in [1.5, 2.5] {
            x.as_mut_slice().fill(round);
            let results = [&mut a, &mut b, &mut c];
            peer.run(&x, results, 2).expect("an answer");
            assert_eq!(c.as_slice(), [round; 2]);
        }
        assert!(peer.run(&x, [&mut a, &mut b, &mut c], 2).is_err());
        drop(peer);
        std::fs::remove_file(file).expect("the file");
    }

    #[test]
    fn a_peer_that_does_not_start_is_an_error() {
        assert!(Peer::start("false", Dtype::F16).is_err());
    }
}
