//! One experiment a file.

mod in_place;
mod itself;
mod switch;
mod tlb;

use super::Experiment;

pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "switch",
        run: switch::run,
    },
    Experiment {
        name: "tlb",
        run: tlb::run,
    },
    Experiment {
        name: "self",
        run: itself::run,
    },
];
