//! What the definition of the command line can't say: `--owner`, `--group` and `--mode` mean something in the
//! global scope alone, and a name can choose that too. Elsewhere they are refused, so that nobody takes for
//! shared what is not.

use super::{Command, PutArgs};

impl Command {
    /// Refuses options that would be without effect in the scope that the name has.
    pub(crate) fn check_scope(&self) -> Result<(), String> {
        let (scope, name) = match self {
            Self::Put(args) => return args.check_scope(),
            Self::Get(args) => (&args.from.scope, args.from.name.as_deref()),
            Self::Take(args) => (&args.from.scope, args.from.name.as_deref()),
            Self::Watch(args) => (&args.from.scope, args.from.name.as_deref()),
            Self::Stat(args) => (&args.scope, Some(&*args.name)),
            // For the others the definition requires --global.
            _ => return Ok(()),
        };
        if scope.owner.is_some() && !scope.is_global(name.unwrap_or_default()) {
            return Err(only_global("--owner", name.unwrap_or_default()));
        }
        Ok(())
    }
}

impl PutArgs {
    fn check_scope(&self) -> Result<(), String> {
        let name = self.first.as_ref().map(|name| name.to_string_lossy()).unwrap_or_default();
        if self.path.is_none() && !self.scope.is_global(&name) {
            let given = [
                ("--owner", self.scope.owner.is_some()),
                ("--group", self.group.is_some()),
                ("--mode", self.mode.is_some()),
            ];
            if let Some((option, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                return Err(only_global(option, &name));
            }
        }
        if self.group.is_some() && self.mode == Some(0o600) {
            return Err(
                "with --mode 0600 the group may do nothing: give 0640 to let it read, 0660 to let it \
                        read and write"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

fn only_global(option: &str, name: &str) -> String {
    let global = if name.contains('\\') {
        "a name of the global scope".to_owned()
    } else {
        format!("'Global\\{name}'")
    };
    format!(
        "{option} is for the global scope, and names of other scopes are yours alone: give --global, or {global}"
    )
}
