//! Linux scheduler tracer: who took the CPU from whom, and what processes and threads really cost.
//!
//! One stream, five nouns: Record (bytes from the kernel) -> Event -> Span -> Ledger -> Report.
//! The core takes bytes and times and returns data; the edges hold files, clocks and the kernel.

// The core: no clock, file, socket or terminal.
pub mod audit;
pub mod births;
pub mod counts;
pub mod decode;
pub mod diff;
pub mod dist;
pub mod engine;
pub mod folded;
pub mod host;
pub mod insights;
pub mod ledger;
pub mod model;
pub mod pipeline;
pub mod reorder;
pub mod report;
pub mod spikes;
pub mod summary;
pub mod table;
pub mod target;
pub mod timeline;
pub mod window;

// The edges.
pub mod cli;
pub mod cmd;
#[cfg(target_os = "linux")]
pub mod command;
pub mod export;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod output;
pub mod recording;
pub mod verify;
#[cfg(target_os = "linux")]
pub mod workload;
