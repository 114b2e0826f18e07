//! Whose name is meant: `--global` and `--owner`.
//!
//! Relies on `parse`; the definition of the command line and the check of its scopes rely on it.

use clap::Args;
use handover::map::Account;

use super::parse::parse_account;

/// Which scope a name is looked for in, and whose it is.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub(crate) struct ScopeArgs {
    /// Use the global scope, where other users can find the name; the same as 'Global\' before the name
    #[arg(long)]
    pub(crate) global: bool,

    /// In the global scope, use the name of this user: a login name or a uid
    ///
    /// Each user has global names of their own. Without this option yours are meant. The owner of a map can
    /// change it at any time, and can kill a process that reads it by truncating it: name only somebody you
    /// trust that far.
    #[arg(long, value_name = "USER", value_parser = parse_account)]
    pub(crate) owner: Option<Account>,
}

impl ScopeArgs {
    /// Whether `name` is one of the global scope.
    pub(super) fn is_global(&self, name: &str) -> bool {
        self.global || name.starts_with("Global\\")
    }
}
