//! `bindings/mish.abi.json`: the ABI for generators in other languages.

use anyhow::Result;
use serde_json::{Value, json};

use crate::catalogue::accuracy::{self, NEAR_ZERO, ZEROS};
use crate::catalogue::{ARCHITECTURES, Dtype, Op, PTX, Role};
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
        "operations": operations(),
        "element_types": element_types(),
        "architectures": architectures(),
        "ptx": PTX,
        "accuracy": bounds(),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn operations() -> Value {
    let operations = Op::ALL.iter().map(|op| {
        let operands = op.operands().iter().map(|operand| {
            let role = match operand.role {
                Role::Input => "input",
                Role::Output => "output",
                Role::OptionalOutput => "optional output",
            };
            json!({ "name": operand.name, "role": role })
        });
        json!({
            "name": op.name(),
            "operands": operands.collect::<Value>(),
            "orders": op.orders(),
        })
    });
    operations.collect()
}

fn element_types() -> Value {
    let types = Dtype::ALL.iter().map(|dtype| {
        json!({
            "name": dtype.name(),
            "full_name": dtype.full_name(),
            "constant": format!("MISH_DTYPE_{}", dtype.class()),
            "code": dtype.code(),
            "bits": dtype.bits(),
            "dlpack_code": dtype.dlpack_code(),
            "digits": dtype.digits(),
            "min_exponent": dtype.min_exponent(),
        })
    });
    types.collect()
}

fn architectures() -> Value {
    let architectures = ARCHITECTURES.iter().map(|arch| {
        json!({
            "sm": arch.sm,
            "compute_capability": format!("{}.{}", arch.capability() / 10, arch.capability() % 10),
            "gpus": arch.gpus,
            "fast_double": arch.has_fast_double,
            "widest_access": arch.widest_access,
        })
    });
    architectures.collect()
}

/// In units of the last place, of a function alone and times gradients; `near_zero` around each of `zeros` the unit is never less than the
/// last place of 1/16. The lists are by the order of the derivative.
fn bounds() -> Value {
    let bounds = |bound: fn(Dtype, usize) -> f64| {
        let bounds = Dtype::ALL.iter().map(|&dtype| {
            let bounds = (0..ZEROS.len()).map(|order| json!(bound(dtype, order)));
            (dtype.name().to_owned(), bounds.collect())
        });
        Value::Object(bounds.collect())
    };
    json!({
        "bounds": bounds(accuracy::bound),
        "product_bounds": bounds(accuracy::product_bound),
        "zeros": ZEROS,
        "near_zero": NEAR_ZERO,
    })
}

/// A C type name, or for pointers an object that says to what.
fn ty(of: &Type) -> Value {
    match of {
        Type::Pointer { is_const, to } => json!({ "pointer": ty(to), "const": is_const }),
        other => other.c().into(),
    }
}
