//! `include/mish.h`: the manual in `mish.h.in`, with the declarations as cbindgen renders them.

use std::collections::HashSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use cbindgen::{Builder, Config, DocumentationStyle, Language, SortKey, Style};

use crate::model::{Abi, Type};

const TEMPLATE: &str = include_str!("mish.h.in");
const WIDTH: usize = 96;

/// Renders the header.
///
/// In the template, `@items PATTERN...` stands for the declarations with these names; a pattern
/// that ends in `*` takes what begins so and has not been placed before.
pub fn render(abi: &Abi) -> Result<String> {
    let mut declarations = declarations(abi)?;
    let version: Vec<&str> = abi.version.split('.').collect();
    let [major, minor, patch] = version[..] else {
        bail!("version {} is not major.minor.patch", abi.version);
    };
    let named: HashSet<&str> = TEMPLATE
        .lines()
        .filter_map(|line| line.strip_prefix("@items "))
        .flat_map(str::split_whitespace)
        .filter(|pattern| !pattern.ends_with('*'))
        .collect();
    let mut header = String::new();
    for line in TEMPLATE.lines() {
        let Some(patterns) = line.strip_prefix("@items ") else {
            let line = line
                .replace("@version@", &abi.version)
                .replace("@major@", major)
                .replace("@minor@", minor)
                .replace("@patch@", patch);
            writeln!(header, "{line}")?;
            continue;
        };
        for pattern in patterns.split_whitespace() {
            let (chosen, rest): (Vec<_>, Vec<_>) =
                declarations
                    .into_iter()
                    .partition(|(name, _)| match pattern.strip_suffix('*') {
                        Some(prefix) => name.starts_with(prefix) && !named.contains(name.as_str()),
                        None => name == pattern,
                    });
            if chosen.is_empty() {
                bail!("mish.h.in: nothing is called {pattern}");
            }
            declarations = rest;
            header.push_str(&cbindgen(&chosen)?);
        }
    }
    if let Some((name, _)) = declarations.first() {
        bail!("mish.h.in: no place for {name}");
    }
    if let Some(line) = header.lines().find(|line| !line.is_ascii()) {
        bail!("not ASCII: {line}");
    }
    Ok(header)
}

/// Every item as a declaration in Rust, without the bodies that cbindgen has no use for.
fn declarations(abi: &Abi) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for alias in &abi.aliases {
        let text = format!("pub type {} = {};\n", alias.name, alias.to.rust());
        all.push((alias.name.clone(), comment(&alias.doc, "") + &text));
    }
    for constant in &abi.constants {
        let ty = match &constant.ty {
            Type::Named(name) => abi.alias(name).context("no such type")?.rust().into(),
            other => other.rust(),
        };
        let text = format!("pub const {}: {ty} = {};\n", constant.name, constant.value);
        all.push((constant.name.clone(), comment(&constant.doc, "") + &text));
    }
    for found in &abi.structs {
        let mut text = comment(&found.doc, "");
        writeln!(text, "#[repr(C)]\npub struct {} {{", found.name)?;
        for field in &found.fields {
            text += &comment(&field.doc, "    ");
            writeln!(text, "    pub {}: {},", field.name, field.ty.rust())?;
        }
        text += "}\n";
        all.push((found.name.clone(), text));
    }
    for function in &abi.functions {
        let mut text = comment(&function.doc, "");
        writeln!(text, "#[unsafe(no_mangle)]")?;
        write!(text, "pub extern \"C\" fn {}(", function.name)?;
        for (name, ty) in &function.parameters {
            write!(text, "{name}: {}, ", ty.rust())?;
        }
        text += ")";
        if let Some(ty) = &function.returns {
            write!(text, " -> {}", ty.rust())?;
        }
        text += " { loop {} }\n";
        all.push((function.name.clone(), text));
    }
    Ok(all)
}

fn cbindgen(declarations: &[(String, String)]) -> Result<String> {
    let source: String = declarations.iter().map(|(_, text)| text.as_str()).collect();
    let file = std::env::temp_dir().join(format!("mish-abi-{}.rs", std::process::id()));
    std::fs::write(&file, source)?;
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        no_includes: true,
        usize_is_size_t: true,
        line_length: 100,
        tab_width: 4,
        sort_by: SortKey::None,
        documentation_style: DocumentationStyle::Doxy,
        ..Config::default()
    };
    // Types that nothing in this part uses are wanted all the same.
    config.export.include = declarations.iter().map(|(name, _)| name.clone()).collect();
    let bindings = Builder::new()
        .with_config(config)
        .with_src(&file)
        .generate();
    std::fs::remove_file(&file)?;
    let mut text = Vec::new();
    bindings?.write(&mut text);
    let text = String::from_utf8(text)?;
    Ok(compact(text.trim()) + "\n\n")
}

/// Puts comments of one line on one line, and numbers below each other.
fn compact(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut compacted: Vec<String> = Vec::new();
    let mut i = 0;
    while i < lines.len() {
        let line = lines[i];
        let is_short = line.trim() == "/**" && lines.get(i + 2).is_some_and(|l| l.trim() == "*/");
        if is_short {
            let indent = &line[..line.len() - 3];
            let words = lines[i + 1].trim().trim_start_matches("* ");
            compacted.push(format!("{indent}/** {words} */"));
            i += 3;
        } else {
            compacted.push(line.into());
            i += 1;
        }
    }
    let is_define = |i: usize| compacted[i].starts_with("#define");
    let kept = (0..compacted.len()).filter(|&i| {
        let between_numbers = compacted[i].is_empty()
            && is_define(i - 1)
            && compacted[i + 1].ends_with("*/")
            && is_define(i + 2);
        !between_numbers
    });
    kept.map(|i| compacted[i].as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

fn comment(doc: &str, indent: &str) -> String {
    let mut text = String::new();
    for line in plain(doc, WIDTH - indent.len()) {
        // cbindgen keeps what follows the slashes, so the space is ours to put.
        let space = if line.is_empty() { "" } else { " " };
        writeln!(text, "{indent}///{space}{line}").expect("writing to a string");
    }
    text
}

/// Rust documentation as plain text: no backticks, headings as words, paragraphs filled anew.
pub fn plain(doc: &str, width: usize) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut heading = None;
    let mut is_open = false;
    for line in doc.lines() {
        if line.trim().is_empty() {
            if is_open {
                blocks.push(String::new());
                is_open = false;
            }
        } else if let Some(words) = line.strip_prefix("# ") {
            heading = Some(words.to_owned());
        } else if is_open && !starts_block(line) {
            let block = blocks.last_mut().expect("a block is open");
            block.push(' ');
            block.push_str(line.trim());
        } else {
            let words = heading.take().map(|heading| match heading.as_str() {
                "Safety" => "Requires: ".to_owned(),
                other => format!("{other}: "),
            });
            blocks.push(words.unwrap_or_default() + line.trim());
            is_open = true;
        }
    }
    blocks
        .into_iter()
        .flat_map(|block| fill(&block.replace('`', ""), width))
        .collect()
}

/// A line that begins with the name of a parameter begins a line in the header too.
fn starts_block(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words
        .find(|word| !word.ends_with("`,"))
        .is_some_and(|word| word.starts_with('`') && word.ends_with("`:"))
}

fn fill(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn documentation_becomes_plain_text() {
        let doc =
            "Does `this`\nand that.\n\n`x`: one.\n`y`, `z`: two\nthree.\n\n# Safety\nAll of it.";
        let expected = [
            "Does this and that.",
            "",
            "x: one.",
            "y, z: two three.",
            "",
            "Requires: All of it.",
        ];
        assert_eq!(plain(doc, 80), expected);
    }

    #[test]
    fn long_lines_are_filled() {
        assert_eq!(plain("aa bb cc", 5), ["aa bb", "cc"]);
    }
}
