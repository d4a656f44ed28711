//! What a command prints of an answer: a table for a person, or JSON for a program.

use std::{borrow::Cow, io};

use serde_json::Value;

use crate::terminal::{Table, Terminal, printable, printable_json};

/// How a result is printed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Output {
    /// Print the server's answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Output {
    /// Prints one object: its members line by line, or JSON.
    pub(super) fn object(self, terminal: &Terminal, answer: &Value, members: &[&str]) -> io::Result<()> {
        if self.json {
            return show_json(terminal, answer);
        }
        let width = members.iter().map(|name| name.len()).max().unwrap_or_default();
        for name in members {
            let value = printable(&member(answer, name));
            terminal.say(format!("{name:<width$}  {}", if value.is_empty() { "-" } else { &value }))?;
        }
        Ok(())
    }

    /// Prints a list: a row of `members` for each object, or JSON. `none` is what is said of an empty one.
    pub(super) fn list<const N: usize>(
        self,
        terminal: &Terminal,
        answer: &Value,
        members: [&str; N],
        none: &str,
    ) -> io::Result<()> {
        if self.json {
            return show_json(terminal, answer);
        }
        let mut table = Table::new(members.map(|name| name.rsplit('/').next().unwrap_or(name)));
        for object in answer.as_array().into_iter().flatten() {
            let cells = members.map(|name| member(object, name));
            table.row(cells.each_ref().map(AsRef::as_ref));
        }
        if !table.has_rows() {
            terminal.note(none);
            return Ok(());
        }
        table.lines().try_for_each(|line| terminal.say(line))
    }
}

/// Prints JSON.
pub(super) fn show_json(terminal: &Terminal, value: &Value) -> io::Result<()> {
    terminal.say(printable_json(value))
}

/// A member as a person reads it, named by a JSON pointer without its first slash. Points in time are to the second.
pub(super) fn member<'a>(object: &'a Value, name: &str) -> Cow<'a, str> {
    match object.pointer(&format!("/{name}")) {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) if name == "at" || name == "expiry" || name.ends_with("_at") => {
            Cow::Owned(crate::terminal::moment_of(text))
        }
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

/// Tells of the warnings in an answer (`warnings: [{"field", "detail"}]`).
pub(super) fn warn(terminal: &Terminal, answer: &Value) {
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        let (field, detail) = (member(warning, "field"), member(warning, "detail"));
        terminal.note(format_args!("warning: {}: {}", printable(&field), printable(&detail)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_is_read_by_its_pointer_and_a_missing_one_is_empty() {
        let object = json!({"a": {"b": "c"}, "n": 7, "null": null, "added_at": "2026-01-02T03:04:05Z"});
        for (name, expected) in
            [("a/b", "c"), ("n", "7"), ("null", ""), ("none", ""), ("added_at", "2026-01-02 03:04:05 UTC")]
        {
            assert_eq!(member(&object, name), expected);
        }
    }
}
