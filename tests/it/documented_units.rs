//! What operators copy: the units of systemd, and the command that runs with a unit's settings, agree with each other.

use std::{collections::BTreeSet, fs, path::Path};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What `pattern` finds, its first group.
fn found(text: &str, pattern: &str) -> BTreeSet<String> {
    let pattern = regex::Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn the_settings_file_stands_in_one_place() {
    for path in ["README.md", "deploy/cloudlink@.service", "docs/operations.md", "src/cli/keys.rs"] {
        let files = found(&read(path), r"--config (/\S+?\.toml)");
        assert_eq!(files, BTreeSet::from(["/etc/cloudlink/cloudlink.toml".to_owned()]), "{path}");
    }
}

#[test]
fn a_command_on_the_machine_is_given_what_the_units_give_to_serve() {
    let command = read("docs/operations.md");
    let units = [read("README.md"), read("deploy/cloudlink@.service")].concat();
    let credential = r"LoadCredential=(\S+)";
    let (given, there) = (found(&command, credential), found(&units, credential));
    assert!(given.len() == 2 && given.is_subset(&there), "{given:?} of {there:?}");
    assert_eq!(found(&command, r"-p User=(\S+)"), found(&units, r"(?m)^User=(\S+)"));
    // Where systemd keeps a unit's credentials, which has no short name outside of a unit's own lines.
    let unit = found(&command, r"systemd-run --unit=(\S+)");
    assert_eq!(found(&command, r"/run/credentials/([\w-]+)\.service/"), unit);
    let variable = r"(CLOUDLINK__\w+_FILE=)(?:%d|/run/credentials/[\w.-]+)/[\w-]+";
    let (set, known) = (found(&command, variable), found(&units, variable));
    assert!(set.len() == 2 && set.is_subset(&known), "{set:?} of {known:?}");
    let folder = r"(CLOUDLINK_DATA_DIR=\S+)";
    assert_eq!(
        found(&command, &format!("--setenv={folder}")),
        found(&units, &format!("Environment={folder}"))
    );
}
