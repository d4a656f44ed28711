//! The direction of the arrows: imports point down the list of layers, and each outside library stays in its room.
//!
//! Reads `src/` as text. Comments and literals are blanked first, so that only code counts; `super::` is followed
//! through modules, inline ones included.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each layer with those below that it may use. Who is not named here has no place in the house.
const LAYERS: [(&str, &[&str]); 15] = [
    ("domain", &[]),
    ("vault", &["domain"]),
    ("store", &["domain", "vault"]),
    ("bus", &["domain"]),
    ("provider", &["domain"]),
    ("flows", &["domain", "vault", "store", "bus", "provider"]),
    ("relay", &["domain", "store", "bus"]),
    // `store` and `vault` for the types that verbs answer with: rows, errors, claims, parsed keys.
    ("http", &["domain", "flows", "relay"]),
    ("seams", &["domain"]),
    ("cluster", &[]),
    ("config", &["domain"]),
    ("plugin_client", &["domain", "vault", "provider", "seams"]),
    ("terminal", &["domain", "plugin_client"]),
    ("api_client", &["domain", "plugin_client", "terminal"]),
    ("bridge", &["domain", "plugin_client", "terminal", "api_client", "seams"]),
];
/// What puts the layers together, and uses all.
const TOP: [&str; 6] = ["startup", "telemetry", "cli", "dev", "main", "lib"];

/// Outside libraries by the beginning of their name, with the files that may know them.
const ROOMS: [(&str, &[&str]); 8] = [
    ("sqlx", &["store/", "bus/postgres.rs", "startup", "cluster"]),
    ("async_nats", &["bus/nats.rs"]),
    ("actix_", &["http/", "relay/", "startup", "telemetry/", "cli", "dev/"]),
    ("tracing_actix_web", &["http/", "startup", "telemetry/"]),
    ("httparse", &["http/relay_head.rs"]),
    ("rumqttc", &["bridge/mqtt.rs"]),
    ("reqwest", &["provider/", "plugin_client/", "api_client/"]),
    ("anyhow", &["startup", "cli", "dev/", "main.rs"]),
];

struct Source {
    /// From `src/` on.
    path: String,
    text: String,
    /// The text with comments and literals blanked.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::<PathBuf>::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let source = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        Source { path, code: code_of(&text), text }
    };
    files.into_iter().map(source).collect()
}

/// The text with comments, strings and characters as spaces.
fn code_of(text: &str) -> String {
    let pattern = concat!(
        r##"//[^\n]*|/\*(?s:.*?)\*/|b?r"[^"]*"|b?r#"(?s:.*?)"#"##,
        r##"|b?"(?s:[^"\\]|\\.)*"|b?'(?:[^'\\\n]|\\[^\n]|\\u\{[0-9a-f]+\}|\\x[0-9a-f]{2})'"##,
    );
    regex::Regex::new(pattern).unwrap().replace_all(text, " ").into_owned()
}

/// The module that a file is.
fn module_of(path: &str) -> Vec<String> {
    let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let stem = stem.strip_suffix("_tests").map_or(stem.to_owned(), |owner| format!("{owner}/tests"));
    stem.split('/').filter(|name| !matches!(*name, "main" | "lib")).map(str::to_owned).collect()
}

/// The top-level modules that a source names, by `crate::` or by enough `super::`.
fn named_by(source: &Source) -> BTreeSet<String> {
    let tokens: Vec<&str> = regex::Regex::new(r"\w+|::|[{},]|\S")
        .unwrap()
        .find_iter(&source.code)
        .map(|token| token.as_str())
        .collect();
    let depth_of_file = module_of(&source.path).len();
    let (mut named, mut inline, mut braces) = (BTreeSet::new(), Vec::new(), 0_usize);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match *token {
            "{" => {
                braces += 1;
                if at >= 2 && tokens[at - 2] == "mod" {
                    inline.push(braces);
                }
            }
            "}" => {
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
                braces -= 1;
            }
            "crate" if tokens.get(at + 1) == Some(&"::") => named.extend(first_names(&tokens[at + 2..])),
            "super" if at < 2 || tokens[at - 1] != "::" || tokens[at - 2] != "super" => {
                let path = tokens[at..].chunks(2).take_while(|pair| *pair == ["super", "::"]).count();
                if path == depth_of_file + inline.len() {
                    named.extend(first_names(&tokens[at + 2 * path..]));
                }
            }
            _ => {}
        }
        at += 1;
    }
    named
}

/// The first name of each branch of what follows `crate::`.
fn first_names(tokens: &[&str]) -> Vec<String> {
    if tokens[0] != "{" {
        return vec![tokens[0].to_owned()];
    }
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0, true);
    for token in tokens {
        match *token {
            "{" => depth += 1,
            "}" if depth == 1 => return names,
            "}" => depth -= 1,
            "," if depth == 1 => fresh = true,
            name if depth == 1 && fresh => {
                names.push(name.to_owned());
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn layer_of(path: &str) -> &str {
    path.trim_end_matches(".rs").split('/').next().unwrap()
}

#[test]
fn imports_point_down_never_up_or_sideways() {
    let layers = BTreeMap::from(LAYERS);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources() {
        let layer = layer_of(&source.path);
        if TOP.contains(&layer) {
            continue;
        }
        let Some(allowed) = layers.get(layer) else {
            wrong.push(format!("{} belongs to no layer", source.path));
            continue;
        };
        for name in named_by(&source).into_iter().filter(|name| name != layer) {
            if !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} uses {name}", source.path));
            }
            seen.insert((layer.to_owned(), name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (layer, allowed) in LAYERS {
        for name in allowed {
            assert!(
                seen.contains(&(layer.to_owned(), (*name).to_owned())),
                "{layer} does not use {name}: take it out of the list"
            );
        }
    }
}

#[test]
fn each_outside_library_stays_in_its_room() {
    let name = regex::Regex::new(r"\w+").unwrap();
    let mut wrong = BTreeSet::new();
    for source in sources() {
        for word in name.find_iter(&source.code).map(|word| word.as_str()) {
            for (library, rooms) in ROOMS {
                if word.starts_with(library) && !rooms.iter().any(|room| source.path.starts_with(room)) {
                    wrong.insert(format!("{} knows {word}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Transactions are opened and held in the store alone, which knows no provider; so no function can hold both.
#[test]
fn no_transaction_is_open_while_a_provider_is_asked() {
    let holds = regex::Regex::new(r"\bTransaction\b|\bPgExecutor\b|\.\s*begin\s*\(").unwrap();
    let asks = regex::Regex::new(r"\bProviderClient\b|\.\s*provider\b").unwrap();
    let (mut holding, mut asking) = (BTreeSet::new(), BTreeSet::new());
    for source in sources() {
        let layer = layer_of(&source.path).to_owned();
        if holds.is_match(&source.code) {
            holding.insert(layer.clone());
        }
        if asks.is_match(&source.code) {
            asking.insert(layer);
        }
    }
    assert_eq!(holding, BTreeSet::from(["store".to_owned()]));
    assert!(!asking.contains("store") && asking.contains("flows"), "{asking:?}");
}

#[test]
fn a_file_has_one_subject_and_so_at_most_350_lines() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > 350)
        .map(|(lines, path)| format!("{path}: {lines}"))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_reader_of_imports_sees_every_way_to_write_one() {
    let named = |path: &str, text: &str| {
        let source = Source { path: path.to_owned(), text: String::new(), code: code_of(text) };
        named_by(&source).into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        named("bus/mod.rs", "use crate::{domain::{ids::{A, B}, c}, store, vault as v};"),
        "domain store vault"
    );
    assert_eq!(
        named("bus/mod.rs", "fn f() -> crate::http::X { crate :: flows::g(\"crate::a::b\") }"),
        "flows http"
    );
    assert_eq!(named("bus/a.rs", "use super::super::store::X; // crate::http"), "store");
    assert_eq!(
        named(
            "bus/a.rs",
            "use super::store; mod tests { use super::super::store; use super::super::super::{http, b}; }"
        ),
        "b http"
    );
    assert_eq!(named("bus/a_tests.rs", "use super::super::x; use super::super::super::{relay::A};"), "relay");
    assert_eq!(
        named("bus/mod.rs", "let c = '{'; mod tests { fn f<'a>() { super::super::relay::g('\\'') } }"),
        "relay"
    );
}
