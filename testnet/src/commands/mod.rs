//! One file for each command; what they share is in `terminal`, `progress` and `table`.

pub(crate) mod catalogue;
pub(crate) mod demo;
pub(crate) mod export;
pub(crate) mod figure;
mod progress;
pub(crate) mod replay;
pub(crate) mod run;
mod table;
pub(crate) mod terminal;
pub(crate) mod up;
