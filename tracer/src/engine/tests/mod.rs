//! The engine against a toy kernel that knows the truth: by pictures and by chance.

mod chaos;
mod picture;
mod pictures;
mod properties;
mod simulator;
mod stories;
pub(crate) mod toy;
