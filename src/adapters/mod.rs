//! Calling conventions of other frameworks, met without their headers.

pub(crate) mod torch;
