//! The engine against a toy kernel that knows the truth: by pictures and by chance.

mod picture;
mod pictures;
mod properties;
mod simulator;
pub(crate) mod toy;
