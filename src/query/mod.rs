//! The query side: views of what was committed, filters over them, explanations, and the live feed (DESIGN §4).
//!
//! It follows journal and outputs as any other reader of the log, entry by entry. In memory it keeps one compact row a
//! device, for filters; on disk the rows themselves and the past. It changes nothing: commands are events that go
//! through the log like any other, and what became of them is read from there.

pub mod cells;
pub mod columns;
pub mod explain;
pub mod feed;
pub mod filter;
pub mod first;
pub mod fleet;
pub mod history;
pub mod list;
pub mod live;
pub mod measures;
pub mod order;
pub mod outcomes;
pub mod partition;
pub mod past;
pub mod pattern;
pub mod view;
pub mod whatif;
