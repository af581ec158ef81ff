//! One experiment a file.

mod compute;
mod create;
mod in_place;
mod isolation;
mod itself;
mod lock;
mod memory;
mod oversubscribe;
mod switch;
mod talk;
mod tlb;

use super::Experiment;

pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "create",
        run: create::run,
    },
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
    Experiment {
        name: "memory",
        run: memory::run,
    },
    Experiment {
        name: "oversubscribe",
        run: oversubscribe::run,
    },
    Experiment {
        name: "talk",
        run: talk::run,
    },
    Experiment {
        name: "lock",
        run: lock::run,
    },
    Experiment {
        name: "isolation",
        run: isolation::run,
    },
];
