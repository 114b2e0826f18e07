//! What handing over values costs.

pub mod record;
pub mod report;
