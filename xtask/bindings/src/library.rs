//! What a built library exports and needs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader, SectionHeader};
use object::{Endianness, Object, ObjectSymbol};

use crate::hardened;
use crate::model::Abi;

const SONAME: &str = "libmish.so";
const MAX_BYTES: u64 = 8 << 20;
/// Shared libraries that every supported system has.
const SYSTEM: [&str; 6] = [
    "libc.so",
    "libm.so",
    "libgcc_s.so",
    "ld-linux",
    "libdl.so",
    "libpthread.so",
];

/// Compares a built library with the ABI. Returns what it found, in words.
pub fn check(abi: &Abi, path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let size = bytes.len() as u64;
    let file = ElfFile64::<Endianness>::parse(&*bytes)?;
    let exported: BTreeSet<&str> = file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition() && symbol.is_global())
        .map(|symbol| symbol.name())
        .collect::<Result<_, _>>()?;
    let described: BTreeSet<&str> = abi.functions.iter().map(|f| f.name.as_str()).collect();
    let missing: Vec<_> = described.difference(&exported).collect();
    if !missing.is_empty() {
        bail!(
            "the ABI has, but {} does not export: {missing:?}",
            path.display()
        );
    }
    let foreign: Vec<_> = exported
        .difference(&described)
        .filter(|name| !name.starts_with("__tvm_ffi_mish_"))
        .collect();
    if !foreign.is_empty() {
        bail!(
            "{} exports, but the ABI does not have: {foreign:?}",
            path.display()
        );
    }
    let (soname, needed) = dynamic_section(&bytes)?;
    if soname.as_deref() != Some(SONAME) {
        bail!("SONAME is {soname:?}, not {SONAME:?}");
    }
    let unexpected: Vec<_> = needed
        .iter()
        .filter(|name| !SYSTEM.iter().any(|system| name.starts_with(system)))
        .collect();
    if !unexpected.is_empty() {
        bail!("needs {unexpected:?}");
    }
    if size >= MAX_BYTES {
        bail!("has {size} bytes; the limit is {MAX_BYTES}");
    }
    Ok(format!(
        "{} symbols, SONAME {SONAME}, {size} bytes, needs {}; {}",
        exported.len(),
        needed.join(", "),
        hardened::check(&bytes)?
    ))
}

fn dynamic_section(bytes: &[u8]) -> Result<(Option<String>, Vec<String>)> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let (entries, link) = sections
        .iter()
        .find_map(|section| section.dynamic(endian, bytes).transpose())
        .context("no dynamic section")??;
    let strings = sections.strings(endian, bytes, link)?;
    let mut soname = None;
    let mut needed = Vec::new();
    for entry in entries {
        let value = || -> Result<String> {
            let text = entry.string(endian, strings)?;
            Ok(String::from_utf8(text.to_vec())?)
        };
        match entry.tag32(endian).map(i64::from) {
            Some(elf::DT_SONAME) => soname = Some(value()?),
            Some(elf::DT_NEEDED) => needed.push(value()?),
            _ => {}
        }
    }
    Ok((soname, needed))
}
