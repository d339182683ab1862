//! Reads the ABI from the Rust source: `src/abi/` for what is exported, `src/status.rs` for the
//! status codes, which its macro declares.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, FnArg, Item, Lit, Meta, Pat, ReturnType, Token, Visibility};

use crate::model::{Abi, Alias, Constant, Field, Function, Scalar, Struct, Type};

/// The file in which the compiler checks the types of every export.
const ACCEPTED: &str = "src/abi/accepted.rs";

/// Reads and checks the ABI of the repository at `root`.
pub fn read(root: &Path) -> Result<Abi> {
    let mut abi = Abi {
        version: env!("CARGO_PKG_VERSION").into(), // the workspace's
        ..Abi::default()
    };
    let folder = root.join("src/abi");
    for path in rust_files(&folder)? {
        let items = parse(&path)?.items;
        read_items(&mut abi, items).with_context(|| path.display().to_string())?;
    }
    let Statuses(constants) = read_macro(&root.join("src/status.rs"), "statuses")?;
    abi.constants.extend(constants);
    read_macro::<Exports>(&root.join(ACCEPTED), "exports")?.check(&abi)?;
    let version = abi.constants.iter().find(|c| c.name == "MISH_ABI_VERSION");
    let version = version.ok_or_else(|| anyhow!("no constant MISH_ABI_VERSION"))?;
    abi.abi_version = u64::try_from(version.value)?;
    abi.check()?;
    Ok(abi)
}

/// All files of a folder and its subfolders, `mod.rs` first, in an order that is the same
/// everywhere.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort_by_key(|path| (!path.ends_with("mod.rs"), path.clone()));
    Ok(files)
}

fn parse(path: &Path) -> Result<syn::File> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    syn::parse_file(&text).with_context(|| path.display().to_string())
}

fn read_items(abi: &mut Abi, items: Vec<Item>) -> Result<()> {
    for item in items {
        match item {
            Item::Type(item) if is_public(&item.vis) => {
                let Type::Scalar(to) = read_type(&item.ty)? else {
                    bail!("{}: only integers may have another name", item.ident);
                };
                abi.aliases.push(Alias {
                    name: item.ident.to_string(),
                    doc: doc(&item.attrs),
                    to,
                });
            }
            Item::Const(item) if is_public(&item.vis) => abi.constants.push(Constant {
                name: item.ident.to_string(),
                doc: doc(&item.attrs),
                ty: read_type(&item.ty)?,
                value: read_integer(&item.expr)
                    .with_context(|| format!("{}: not an integer literal", item.ident))?,
            }),
            Item::Struct(item) if is_public(&item.vis) => {
                if !has_repr_c(&item.attrs) {
                    bail!("{}: is not #[repr(C)]", item.ident);
                }
                let fields = item.fields.into_iter().map(|field| {
                    let name = field.ident.ok_or_else(|| anyhow!("field without a name"))?;
                    Ok(Field {
                        name: name.to_string(),
                        doc: doc(&field.attrs),
                        ty: read_type(&field.ty)?,
                    })
                });
                abi.structs.push(Struct {
                    name: item.ident.to_string(),
                    doc: doc(&item.attrs),
                    fields: fields.collect::<Result<_>>()?,
                });
            }
            Item::Fn(item) => {
                let name = item.sig.ident.to_string();
                if is_exported(&item.attrs) {
                    let function = read_function(item).with_context(|| name)?;
                    abi.functions.push(function);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_function(item: syn::ItemFn) -> Result<Function> {
    let abi = item.sig.abi.as_ref().and_then(|abi| abi.name.as_ref());
    if abi.is_none_or(|name| name.value() != "C") {
        bail!("exported, but not `extern \"C\"`");
    }
    let mut parameters = Vec::new();
    for input in &item.sig.inputs {
        let FnArg::Typed(input) = input else {
            bail!("takes self");
        };
        let Pat::Ident(name) = &*input.pat else {
            bail!("a parameter has no name");
        };
        let name = name.ident.to_string();
        let ty = read_type(&input.ty).with_context(|| name.clone())?;
        parameters.push((name, ty));
    }
    let returns = match &item.sig.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some(read_type(ty).context("result")?),
    };
    Ok(Function {
        name: item.sig.ident.to_string(),
        doc: doc(&item.attrs),
        parameters,
        returns,
    })
}

fn read_type(ty: &syn::Type) -> Result<Type> {
    match ty {
        syn::Type::Ptr(pointer) => Ok(Type::Pointer {
            is_const: pointer.const_token.is_some(),
            to: Box::new(read_type(&pointer.elem)?),
        }),
        syn::Type::Path(path) => {
            let name = &path.path.segments.last().context("empty path")?.ident;
            let name = name.to_string();
            Ok(match Scalar::from_rust(&name) {
                Some(scalar) => Type::Scalar(scalar),
                None if name == "c_void" => Type::Void,
                None if name.starts_with("mish_") => Type::Named(name),
                None => bail!("{name} may not cross the boundary"),
            })
        }
        _ => bail!("neither an integer, a pointer nor a struct"),
    }
}

fn read_integer(expr: &Expr) -> Result<i64> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(int) => Ok(int.base10_parse()?),
            _ => bail!("another literal"),
        },
        Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => {
            Ok(-read_integer(&unary.expr)?)
        }
        _ => bail!("an expression"),
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_exported(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("unsafe") => {
            list.tokens.to_string().starts_with("no_mangle")
        }
        Meta::Path(path) => path.is_ident("no_mangle"),
        _ => false,
    })
}

fn has_repr_c(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("repr") && list.tokens.to_string() == "C",
        _ => false,
    })
}

/// The documentation as written, without the space that follows `///`.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        let Expr::Lit(literal) = &pair.value else {
            return None;
        };
        match &literal.lit {
            Lit::Str(text) if pair.path.is_ident("doc") => {
                let text = text.value();
                Some(text.strip_prefix(' ').unwrap_or(&text).to_owned())
            }
            _ => None,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What `statuses! { ... }` holds: `/// doc`, `Variant = number, "MISH_STATUS_NAME";`
struct Statuses(Vec<Constant>);

impl Parse for Statuses {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut constants = Vec::new();
        while !input.is_empty() {
            let attributes = input.call(Attribute::parse_outer)?;
            input.parse::<syn::Ident>()?;
            input.parse::<Token![=]>()?;
            let number: syn::LitInt = input.parse()?;
            input.parse::<Token![,]>()?;
            let name: syn::LitStr = input.parse()?;
            input.parse::<Token![;]>()?;
            constants.push(Constant {
                name: name.value(),
                doc: doc(&attributes),
                ty: Type::Named("mish_status".into()),
                value: number.base10_parse()?,
            });
        }
        Ok(Statuses(constants))
    }
}

/// What `exports! { ... }` holds: `mish_name(_, _);`
struct Exports(Vec<String>);

impl Parse for Exports {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut names = Vec::new();
        while !input.is_empty() {
            names.push(input.parse::<syn::Ident>()?.to_string());
            let parameters;
            syn::parenthesized!(parameters in input);
            Punctuated::<Token![_], Token![,]>::parse_terminated(&parameters)?;
            input.parse::<Token![;]>()?;
        }
        Ok(Exports(names))
    }
}

impl Exports {
    /// Fails unless every function is listed, as each of these is compiled.
    fn check(&self, abi: &Abi) -> Result<()> {
        for Function { name, .. } in &abi.functions {
            ensure!(self.0.contains(name), "{ACCEPTED} does not list {name}");
        }
        Ok(())
    }
}

/// What a file's one call of a macro holds.
fn read_macro<T: Parse>(path: &Path, name: &str) -> Result<T> {
    for item in parse(path)?.items {
        if let Item::Macro(item) = item
            && item.mac.path.is_ident(name)
        {
            let body = item.mac.parse_body();
            return body.with_context(|| path.display().to_string());
        }
    }
    bail!("{}: no {name}! {{ ... }}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Abi> {
        let mut abi = Abi::default();
        read_items(&mut abi, syn::parse_file(text)?.items)?;
        abi.check()?;
        Ok(abi)
    }

    const TYPES: &str = "
        /// A number.
        pub type mish_number = i32;
        /// A pair.
        #[repr(C)]
        pub struct mish_pair {
            /// First.
            pub a: u8,
            /// Second.
            pub b: *mut i64,
            /// Third.
            pub c: u16,
        }";

    #[test]
    fn reads_what_may_be_exported() {
        let text = format!(
            "{TYPES}
            /// Adds.
            ///
            /// `a`: where. `b`, `c`: what.
            #[unsafe(no_mangle)]
            pub unsafe extern \"C\" fn mish_add(
                a: mish_number, b: *const mish_pair, c: *mut c_void,
            ) -> *const c_char {{ body() }}
            fn helper() {{}}"
        );
        let abi = read_text(&text).unwrap();
        let [function] = &abi.functions[..] else {
            panic!("one function is exported");
        };
        let types: Vec<String> = function.parameters.iter().map(|(_, ty)| ty.c()).collect();
        assert_eq!(types, ["mish_number", "const mish_pair *", "void *"]);
        assert_eq!(function.returns.as_ref().unwrap().c(), "const char *");
        let layout = abi.layout(&abi.structs[0]).unwrap();
        assert_eq!(layout, (vec![0, 8, 16], 24, 8));
    }

    #[test]
    fn refuses_what_may_not() {
        let head = "#[unsafe(no_mangle)] pub extern";
        for (what, text) in [
            ("no documentation", format!("{head} \"C\" fn mish_a() {{}}")),
            (
                "not `extern",
                format!("/// A.\n{head} \"system\" fn mish_a() {{}}"),
            ),
            ("prefix", format!("/// A.\n{head} \"C\" fn other() {{}}")),
            (
                "may not cross",
                format!("/// `x`\n{head} \"C\" fn mish_a(x: bool) {{}}"),
            ),
            (
                "neither",
                format!("/// `x`\n{head} \"C\" fn mish_a(x: &u8) {{}}"),
            ),
            (
                "unknown type",
                format!("/// `x`\n{head} \"C\" fn mish_a(x: mish_b) {{}}"),
            ),
            (
                "is not documented",
                format!("/// A.\n{head} \"C\" fn mish_a(x: i32) {{}}"),
            ),
            (
                "repr(C)",
                "/// A.\npub struct mish_a { pub b: u8 }".to_owned(),
            ),
            (
                "no documentation",
                "/// A.\n#[repr(C)] pub struct mish_a { pub b: u8 }".to_owned(),
            ),
        ] {
            let error = read_text(&text).expect_err(&text);
            assert!(format!("{error:#}").contains(what), "{error:#}, not {what}");
        }
    }

    #[test]
    fn reads_the_statuses() {
        let text =
            "/// Good.\nOk = 0, \"MISH_STATUS_OK\";\n/// Bad.\nBad = 7, \"MISH_STATUS_BAD\";";
        let Statuses(found) = syn::parse_str(text).unwrap();
        let found: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.value)).collect();
        assert_eq!(found, [("MISH_STATUS_OK", 0), ("MISH_STATUS_BAD", 7)]);
    }
    #[test]
    fn every_export_is_listed_where_the_compiler_checks_its_types() {
        let abi =
            read_text("/// A.\n#[unsafe(no_mangle)] pub extern \"C\" fn mish_a() {}").unwrap();
        let check = |text: &str| syn::parse_str::<Exports>(text).unwrap().check(&abi);
        check("mish_b(_, _); mish_a();").unwrap();
        let error = check("mish_b(_, _);").unwrap_err().to_string();
        assert!(error.ends_with("does not list mish_a"), "{error}");
    }
}
