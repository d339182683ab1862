//! The kernel compiler.

/// Installs the pinned kernel compiler if none is found.
pub fn ensure() -> anyhow::Result<()> {
    Ok(())
}
