//! How long mappers wait for locks. Relies on nothing.

use std::time::Duration;

/// How long a write waits for another one that is under way, and in the plain layout a read as well. Each is
/// one copy long; only a lease or a process that was stopped takes longer.
pub(super) const LOCK_LIMIT: Duration = Duration::from_secs(10);
