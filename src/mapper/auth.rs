//! The value that the project began with: an access token. Relies on `type_name`.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::type_name::TypeName;

/// An access token on its way from a producer to its consumers: in JSON, `{"Bearer":"…"}`.
///
/// `Debug` never shows the token, and its memory is wiped when it is dropped.
///
/// ```
/// let auth = handover::Auth::new("secret");
/// assert_eq!(format!("{auth:?}"), r#"Auth { bearer: "[6 bytes]" }"#);
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "PascalCase")]
pub struct Auth {
    bearer: String,
}

impl Auth {
    /// The name under which producers and consumers of a token meet if they agreed on no other.
    pub const MAP_NAME: &'static str = "example";

    /// A token.
    pub fn new(bearer: impl Into<String>) -> Self {
        Self { bearer: bearer.into() }
    }

    /// The token itself, as it goes into an `Authorization: Bearer` header.
    pub fn bearer(&self) -> &str {
        &self.bearer
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("bearer", &format!("[{} bytes]", self.bearer.len())).finish()
    }
}

impl TypeName for Auth {
    const TYPE_NAME: &'static str = "handover.Auth";
}
