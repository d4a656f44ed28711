//! What is wrong with a configuration, and what is merely odd about it: all of it at once, each with the
//! JSON pointer (RFC 6901) of its member. No text here ever quotes a value, since any value may be a secret.

/// A member that doesn't fit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901).
    pub field: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// Something accepted that will probably not do what its author means.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// JSON pointer (RFC 6901).
    pub field: String,
    /// What will happen, and what to do.
    pub detail: String,
}

/// Errors and warnings in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<FieldError>,
    pub(super) warnings: Vec<Warning>,
}

impl Findings {
    pub(super) fn error(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), detail: detail.into() });
    }

    pub(super) fn warn(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.warnings.push(Warning { field: field.into(), detail: detail.into() });
    }
}

/// The JSON pointer of member `name` of the object at `parent`.
pub(super) fn member_of(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_escapes_what_rfc_6901_asks_for() {
        assert_eq!(member_of("/token_parameters", "a/b~c"), "/token_parameters/a~1b~0c");
    }
}
