//! One experiment a file.

mod itself;
mod switch;

use super::Experiment;

pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "switch",
        run: switch::run,
    },
    Experiment {
        name: "self",
        run: itself::run,
    },
];
