//! What the configurations of `docs/providers/` send, word for word. How a whole link with each of them goes is
//! told in `tests/it/documented_providers.rs`.

use std::{fs, path::Path};

use serde_json::Value;

use super::transcript::{Given, parsed, requests, text};

/// The value that a slot would give, by plugin.
const VARIABLE: (&str, &str, &str) = ("google-nest", "project_id", "32c4c2bc-fe0d-461b-b51c-f3885afff2f0");

#[test]
fn each_documented_configuration_sends_what_its_snapshot_shows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        let members = fs::read(folder.join(format!("{name}.json"))).unwrap();
        let configuration = parsed(&serde_json::from_slice::<Value>(&members).unwrap());
        let (plugin, variable, value) = VARIABLE;
        let variables = [(variable.to_owned(), value.to_owned())];
        let variables = if name == plugin { &variables[..] } else { &[] };
        let given = Given { plugin: &name, variables, ..Given::default() };
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name.as_str(), text(&requests(&configuration, &given)));
        });
    }
}
