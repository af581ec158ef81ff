//! The engine against a toy kernel that knows the truth: by pictures and by chance.

pub(crate) mod bytes;
mod chaos;
mod look;
mod narrow;
mod picture;
mod pictures;
mod properties;
pub(crate) mod simulator;
mod stories;
mod task;
pub(crate) mod toy;
mod truth;
