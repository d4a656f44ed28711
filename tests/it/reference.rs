//! The API's reference: it has each call that there is, no other, and tells the truth about what comes back.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Home, Provider, Reply, Service, call_with, with_json};

/// Where pages lead by themselves, and what is on the operator's listener: nobody outside needs to know it.
fn is_our_own(path: &str) -> bool {
    let ours = ["/login", "/api/login/callback", "/assets/", "/account-link/", "/admin"];
    ours.iter().any(|beginning| path.starts_with(beginning))
}

/// `METHOD path` of each route that the sources register.
fn registered() -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    let resource = regex::Regex::new(r#"web::resource\(\s*"([^"]+)"\s*,?\s*\)"#).unwrap();
    let method = regex::Regex::new(r"\.route\(\s*web::(get|post|put|patch|delete)\(\)").unwrap();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")) {
        let text = fs::read_to_string(file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let starts: Vec<_> = resource.captures_iter(text).collect();
        for (nth, start) in starts.iter().enumerate() {
            let end = starts.get(nth + 1).map_or(text.len(), |next| next.get(0).unwrap().start());
            let behind = &text[start.get(0).unwrap().end()..end];
            if behind.contains(".default_service(") {
                routes.extend(["GET", "PUT", "PATCH", "DELETE"].map(|any| format!("{any} {}", &start[1])));
            }
            for verb in method.captures_iter(behind) {
                routes.insert(format!("{} {}", verb[1].to_uppercase(), &start[1]));
            }
        }
    }
    routes.retain(|route| !is_our_own(route.split_once(' ').unwrap().1));
    routes
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

/// The `code` of each refusal that the sources make.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let maker = "(?:bad_request|conflict|gone|unprocessable|unavailable|no_answer|new)";
    let with = |who: &str, code: &str| {
        regex::Regex::new(&format!(r"{who}::{maker}\(\s*(?:StatusCode::\w+,\s*)?{code}")).unwrap()
    };
    let (any, told) = (with("Problem", ""), with("(?:Problem|Self)", r#""([a-z_]+)""#));
    let by_problem = with("Problem", r#""[a-z_]+""#);
    // The arms of `of_status`.
    let arm = regex::Regex::new(r#"=> \("([a-z_]+)", ""#).unwrap();
    let http = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    for file in sources(&http) {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let (all, literal) = (any.find_iter(text).count(), by_problem.find_iter(text).count());
        assert_eq!(all, literal, "{}: a code that is not written where the refusal is made", file.display());
        codes.extend(told.captures_iter(text).map(|found| found[1].to_owned()));
        if file == http.join("error.rs") {
            codes.extend(arm.captures_iter(text).map(|found| found[1].to_owned()));
        }
    }
    codes
}

#[test]
fn the_page_on_the_protocol_has_the_code_of_each_refusal_and_no_other() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Requests and errors\n")).unwrap();
    let word = regex::Regex::new("`([a-z_]+)`").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let column = |row: &str| row.split(" | ").nth(1).unwrap().to_owned();
    let documented: BTreeSet<String> = rows
        .flat_map(|row| word.captures_iter(&column(row)).map(|found| found[1].to_owned()).collect::<Vec<_>>())
        .collect();
    assert_eq!(codes(), documented);
}

async fn openapi(service: &Service) -> Value {
    Reply::of(service.request(Method::GET, "/api/openapi.json")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_has_every_call_and_no_other() {
    let document = openapi(&Service::start().await).await;
    let mut told = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        told.extend(
            methods.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())),
        );
    }
    assert_eq!(told, registered());
}

/// What a schema demands and a value lacks, as far as these schemas go: type, required members, each member.
fn lacks(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return lacks(document, document.pointer(name.trim_start_matches('#')).unwrap(), value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let mut found = Vec::new();
    let allowed = match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(several)) => several.contains(&json!(kind)),
        _ => true,
    };
    if !allowed {
        found.push(format!("{at} is {kind}"));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|words| !words.contains(value)) {
        found.push(format!("{at} is {value}"));
    }
    if let (Some(members), Value::Object(there)) =
        (schema.get("properties").and_then(Value::as_object), value)
    {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !there.contains_key(name.as_str().unwrap()) {
                found.push(format!("{at} lacks {name}"));
            }
        }
        for (name, member) in there {
            if let Some(schema) = members.get(name) {
                found.extend(lacks(document, schema, member, &format!("{at}/{name}")));
            }
        }
    }
    if let (Some(items), Value::Array(elements)) = (schema.get("items"), value) {
        for (nth, element) in elements.iter().enumerate() {
            found.extend(lacks(document, items, element, &format!("{at}/{nth}")));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_has_the_shape_that_the_reference_tells() {
    let on = [("ACCOUNT_LINK__ENABLED", "true"), ("ACCOUNT_LINK__SERVICES", "ecobee=acme")];
    let (service, provider) = (Service::with(&on).await, Provider::start().await);
    let document = openapi(&service).await;
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let connection = home.connect(&service).await;
    let (device, flow) = (home.device.as_str(), connection["flow"].as_str().unwrap());
    let token = home.token(&service).await;
    let mut checked = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(operation) = methods.get("get") else { continue };
        let for_a_browser = operation["responses"]["default"]["content"]["text/html"].is_object();
        if for_a_browser || path.ends_with("/relay") || path == "/v1" || path.contains("/webhook/") {
            continue;
        }
        let concrete = path
            .replace("{plugin}", "acme")
            .replace("{device}", device)
            .replace("{slot}", &home.slot)
            .replace("{flow}", flow);
        let by_owner = service.owner(Method::GET, &concrete, None).await;
        let reply = if by_owner.status == 403 {
            call_with(&service, &token, Method::GET, &concrete, None).await
        } else {
            by_owner
        };
        let status = reply.status.to_string();
        let answer = operation["responses"].get(&status).unwrap_or_else(|| panic!("{path}: {status}"));
        if let Some(schema) = answer.pointer("/content/application~1json/schema") {
            assert_eq!(lacks(&document, schema, &reply.json, path), [""; 0]);
            checked.insert(path.clone());
        }
    }
    assert!(checked.len() >= 12, "{checked:?}");
    let refused = Reply::of(with_json(service.request(Method::POST, "/api/devices"), Some(json!({})))).await;
    let problem = &document["components"]["schemas"]["Problem"];
    assert_eq!(lacks(&document, problem, &refused.json, "problem"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_each_call_to_people_and_loads_nothing_from_elsewhere() {
    let service = Service::start().await;
    let page = Reply::of(service.request(Method::GET, "/docs")).await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    for route in registered() {
        let (method, path) = route.split_once(' ').unwrap();
        let heading = format!("<h2><code>{route}</code></h2>");
        let also =
            page.text.contains(&format!("{path}</code></h2>")) && page.text.contains("The same by GET, PUT");
        assert!(page.text.contains(&heading) || (path.contains("/webhook/") && also), "{method} {path}");
    }
    assert!(!page.text.contains("<script") && !page.text.contains("://"), "nothing from elsewhere");
}
