//! Whether a built library is linked the way a library should be that anybody may load.

use anyhow::{Context, Result, bail, ensure};
use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, SymbolIndex};

/// Checks segments, dynamic flags and undefined symbols. Returns what it found, in words.
pub fn check(bytes: &[u8]) -> Result<String> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let (mut stack, mut has_relro) = (None, false);
    for segment in header.program_headers(endian, bytes)? {
        let flags = segment.p_flags(endian);
        match segment.p_type(endian) {
            elf::PT_GNU_STACK => stack = Some(flags),
            elf::PT_GNU_RELRO => has_relro = true,
            elf::PT_LOAD => ensure!(
                flags & elf::PF_W == 0 || flags & elf::PF_X == 0,
                "a segment is writable and executable"
            ),
            elf::PT_INTERP => bail!("has an interpreter"),
            _ => {}
        }
    }
    let stack = stack.context("says nothing about the stack, which then is executable")?;
    ensure!(stack & elf::PF_X == 0, "wants an executable stack");
    ensure!(has_relro, "no read-only relocations");

    let sections = header.sections(endian, bytes)?;
    let (entries, _) = sections
        .iter()
        .find_map(|section| section.dynamic(endian, bytes).transpose())
        .context("no dynamic section")??;
    let (mut flags, mut flags_1) = (0, 0);
    for entry in entries {
        let value = entry.d_val(endian);
        match entry.tag32(endian).map(i64::from) {
            Some(elf::DT_FLAGS) => flags = value,
            Some(elf::DT_FLAGS_1) => flags_1 = value,
            Some(elf::DT_TEXTREL) => bail!("text relocations"),
            Some(elf::DT_RPATH | elf::DT_RUNPATH) => bail!("a search path of its own"),
            _ => {}
        }
    }
    ensure!(flags & u64::from(elf::DF_TEXTREL) == 0, "text relocations");
    ensure!(
        flags & u64::from(elf::DF_BIND_NOW) != 0 && flags_1 & u64::from(elf::DF_1_NOW) != 0,
        "binds symbols lazily"
    );
    ensure!(
        flags_1 & u64::from(elf::DF_1_NODELETE) != 0,
        "may be unloaded under its own threads"
    );

    let versions = sections
        .versions(endian, bytes)?
        .context("no symbol versions")?;
    let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM)?;
    let mut imported = 0;
    for (i, symbol) in symbols.iter().enumerate().skip(1) {
        if !symbol.is_undefined(endian) || symbol.st_bind() == elf::STB_WEAK {
            continue;
        }
        let name = String::from_utf8_lossy(symbols.symbol_name(endian, symbol)?);
        let index = versions.version_index(endian, SymbolIndex(i));
        let version = versions.version(index)?;
        let version = version.with_context(|| format!("{name} is of no system library"))?;
        let version = String::from_utf8_lossy(version.name());
        ensure!(
            version.starts_with("GLIBC_") || version.starts_with("GCC_"),
            "{name} is of {version}"
        );
        imported += 1;
    }
    Ok(format!(
        "no executable stack, relocations read-only, bound at once, never unloaded, no text \
         relocations, {imported} imported symbols all of the system's C libraries"
    ))
}
