//! The tokens of linked slots, sealed.

use super::{Column, column};

/// A token object, bound to its slot's address.
pub(super) const TOKENS: Column = column!("grants", "tokens");
