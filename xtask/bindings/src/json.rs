//! `bindings/mish.abi.json`: the ABI for generators in other languages.

use anyhow::Result;
use serde_json::{Value, json};

use crate::model::{Abi, Type};

/// Renders the metadata.
pub fn render(abi: &Abi) -> Result<String> {
    let aliases = abi
        .aliases
        .iter()
        .map(|alias| json!({ "name": alias.name, "type": alias.to.c(), "doc": alias.doc }));
    let constants = abi.constants.iter().map(|constant| {
        json!({
            "name": constant.name,
            "type": ty(&constant.ty),
            "value": constant.value,
            "doc": constant.doc,
        })
    });
    let structs = abi.structs.iter().map(|found| {
        let (offsets, size, align) = abi.layout(found)?;
        let fields = found.fields.iter().zip(offsets).map(|(field, offset)| {
            json!({
                "name": field.name,
                "type": ty(&field.ty),
                "offset": offset,
                "doc": field.doc,
            })
        });
        Ok(json!({
            "name": found.name,
            "size": size,
            "align": align,
            "fields": fields.collect::<Value>(),
            "doc": found.doc,
        }))
    });
    let functions = abi.functions.iter().map(|function| {
        let parameters = function.parameters.iter();
        json!({
            "name": function.name,
            "parameters": parameters
                .map(|(name, kind)| json!({ "name": name, "type": ty(kind) }))
                .collect::<Value>(),
            "returns": function.returns.as_ref().map(ty),
            "doc": function.doc,
        })
    });
    let document = json!({
        "library": "mish",
        "version": abi.version,
        "abi_version": abi.abi_version,
        "pointer_size": 8,
        "types": aliases.collect::<Value>(),
        "constants": constants.collect::<Value>(),
        "structs": structs.collect::<Result<Value>>()?,
        "functions": functions.collect::<Value>(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// A C type name, or for pointers an object that says to what.
fn ty(of: &Type) -> Value {
    match of {
        Type::Pointer { is_const, to } => json!({ "pointer": ty(to), "const": is_const }),
        other => other.c().into(),
    }
}
