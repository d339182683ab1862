//! Calling conventions of other frameworks, met without their headers: `common` is what each of
//! them needs, a folder beside it what is one framework's own.

mod common;
pub(crate) mod torch;
