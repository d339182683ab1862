//! The ABI as data.

use anyhow::{Context, Result, bail};

/// Everything that crosses the boundary.
#[derive(Debug, Default)]
pub struct Abi {
    /// The library's version.
    pub version: String,
    /// The value of `MISH_ABI_VERSION`.
    pub abi_version: u64,
    /// Named integer types.
    pub aliases: Vec<Alias>,
    /// Named numbers.
    pub constants: Vec<Constant>,
    /// Structs passed by pointer.
    pub structs: Vec<Struct>,
    /// Exported functions.
    pub functions: Vec<Function>,
}

/// `typedef int32_t mish_status`
#[derive(Debug)]
pub struct Alias {
    pub name: String,
    pub doc: String,
    pub to: Scalar,
}

/// `#define MISH_STATUS_OK 0`
#[derive(Debug)]
pub struct Constant {
    pub name: String,
    pub doc: String,
    pub ty: Type,
    pub value: i64,
}

/// A struct with C layout.
#[derive(Debug)]
pub struct Struct {
    pub name: String,
    pub doc: String,
    pub fields: Vec<Field>,
}

/// A member of a struct.
#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub doc: String,
    pub ty: Type,
}

/// An exported function.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub doc: String,
    pub parameters: Vec<(String, Type)>,
    pub returns: Option<Type>,
}

/// A type that may cross the boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Scalar(Scalar),
    /// An [`Alias`] or a [`Struct`], by name.
    Named(String),
    Pointer {
        is_const: bool,
        to: Box<Type>,
    },
    /// Only behind a pointer.
    Void,
}

/// The integers of the ABI, and `char` for strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    U8,
    U16,
    U32,
    U64,
    I32,
    I64,
    Size,
    Char,
}

impl Scalar {
    /// Rust name, C name, size in bytes where pointers have 8.
    const ALL: [(Scalar, &str, &str, usize); 8] = [
        (Scalar::U8, "u8", "uint8_t", 1),
        (Scalar::U16, "u16", "uint16_t", 2),
        (Scalar::U32, "u32", "uint32_t", 4),
        (Scalar::U64, "u64", "uint64_t", 8),
        (Scalar::I32, "i32", "int32_t", 4),
        (Scalar::I64, "i64", "int64_t", 8),
        (Scalar::Size, "usize", "size_t", 8),
        (Scalar::Char, "c_char", "char", 1),
    ];

    pub fn from_rust(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    fn row(self) -> &'static (Scalar, &'static str, &'static str, usize) {
        let row = Self::ALL.iter().find(|row| row.0 == self);
        row.expect("every scalar has a row")
    }

    pub fn rust(self) -> &'static str {
        self.row().1
    }

    pub fn c(self) -> &'static str {
        self.row().2
    }

    pub fn size(self) -> usize {
        self.row().3
    }
}

impl Type {
    /// The type as Rust source that cbindgen understands.
    pub fn rust(&self) -> String {
        match self {
            Type::Scalar(scalar) => scalar.rust().into(),
            Type::Named(name) => name.clone(),
            Type::Void => "c_void".into(),
            Type::Pointer { is_const, to } => {
                let mutability = if *is_const { "const" } else { "mut" };
                format!("*{mutability} {}", to.rust())
            }
        }
    }

    /// The type as C source.
    pub fn c(&self) -> String {
        match self {
            Type::Scalar(scalar) => scalar.c().into(),
            Type::Named(name) => name.clone(),
            Type::Void => "void".into(),
            Type::Pointer { is_const, to } => {
                let qualifier = if *is_const { "const " } else { "" };
                format!("{qualifier}{} *", to.c())
            }
        }
    }
}

impl Abi {
    /// The integer behind a name.
    pub fn alias(&self, name: &str) -> Option<Scalar> {
        let alias = self.aliases.iter().find(|alias| alias.name == name);
        alias.map(|alias| alias.to)
    }

    fn find_struct(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|found| found.name == name)
    }

    /// Size and alignment in bytes where pointers have 8.
    pub fn size_and_align(&self, ty: &Type) -> Result<(usize, usize)> {
        Ok(match ty {
            Type::Scalar(scalar) => (scalar.size(), scalar.size()),
            Type::Pointer { .. } => (8, 8),
            Type::Void => bail!("void has no size"),
            Type::Named(name) => match (self.alias(name), self.find_struct(name)) {
                (Some(scalar), _) => (scalar.size(), scalar.size()),
                (None, Some(found)) => {
                    let (_, size, align) = self.layout(found)?;
                    (size, align)
                }
                (None, None) => bail!("unknown type {name}"),
            },
        })
    }

    /// The offset of every field, the size and the alignment of a struct.
    pub fn layout(&self, of: &Struct) -> Result<(Vec<usize>, usize, usize)> {
        let mut offsets = Vec::new();
        let (mut end, mut align) = (0_usize, 1);
        for field in &of.fields {
            let (field_size, field_align) = self
                .size_and_align(&field.ty)
                .with_context(|| format!("{}.{}", of.name, field.name))?;
            let offset = end.next_multiple_of(field_align);
            offsets.push(offset);
            end = offset + field_size;
            align = align.max(field_align);
        }
        Ok((offsets, end.next_multiple_of(align), align))
    }

    /// The rules that no single item shows: documentation, prefixes, known types.
    pub fn check(&self) -> Result<()> {
        let documented = |name: &str, doc: &str| -> Result<()> {
            if doc.trim().is_empty() {
                bail!("{name} has no documentation");
            }
            if !name.to_ascii_lowercase().starts_with("mish_") {
                bail!("{name} lacks the mish_ prefix");
            }
            Ok(())
        };
        for alias in &self.aliases {
            documented(&alias.name, &alias.doc)?;
        }
        for constant in &self.constants {
            documented(&constant.name, &constant.doc)?;
        }
        for found in &self.structs {
            documented(&found.name, &found.doc)?;
            for field in &found.fields {
                if field.doc.trim().is_empty() {
                    bail!("{}.{} has no documentation", found.name, field.name);
                }
            }
            self.layout(found)?;
        }
        for function in &self.functions {
            documented(&function.name, &function.doc)?;
            for (name, ty) in &function.parameters {
                self.known(ty)
                    .with_context(|| format!("{}: {name}", function.name))?;
                if !function.doc.contains(&format!("`{name}`")) && !inherits(&function.doc) {
                    bail!("{}: parameter {name} is not documented", function.name);
                }
            }
            if let Some(ty) = &function.returns {
                self.known(ty)
                    .with_context(|| format!("{}: result", function.name))?;
            }
        }
        Ok(())
    }

    fn known(&self, ty: &Type) -> Result<()> {
        match ty {
            Type::Pointer { to, .. } if **to == Type::Void => Ok(()),
            Type::Pointer { to, .. } => self.known(to),
            Type::Named(name) if self.find_struct(name).is_some() => Ok(()),
            other => self.size_and_align(other).map(drop),
        }
    }
}

/// Whether a function's documentation refers to another's for its parameters.
fn inherits(doc: &str) -> bool {
    doc.contains("as for `mish_")
}
