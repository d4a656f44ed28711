//! The API's reference: one table of calls, told to programs as `/api/openapi.json` and to people as `/docs`.
//!
//! What stands here is held to the routes by `tests/it/reference.rs`, in both directions, and to the answers by the
//! schemas' own test there.

mod call;
mod calls;
mod page;

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY},
    web,
};
use serde_json::{Map, Value, json};

use self::{calls::GROUPS, page::DocsPage};
use super::frame::Frame;
use crate::domain::command;

/// A day: it changes with the program alone.
const KEEP: &str = "public, max-age=86400";
const SCHEMAS: &str = include_str!("schemas.json");

static PATHS: LazyLock<Value> = LazyLock::new(paths);
static SHAPES: LazyLock<Value> = LazyLock::new(shapes);
static DOCS: LazyLock<String> = LazyLock::new(|| DocsPage { groups: &GROUPS, schemas: &SHAPES }.render());

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/openapi.json").route(web::get().to(openapi)))
        .service(web::resource("/docs").route(web::get().to(docs)));
}

async fn openapi(frame: web::Data<Frame>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, KEEP)).json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "cloudlink",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Brings the tokens of web services to plugins at home.",
        },
        "servers": [{ "url": frame.public_url.origin() }],
        "tags": GROUPS.iter().map(|group| json!({ "name": group.title })).collect::<Vec<_>>(),
        "paths": *PATHS,
        "components": {
            "schemas": *SHAPES,
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic", "description": "The owner's name and password." },
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            },
        },
    }))
}

async fn docs() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CACHE_CONTROL, KEEP))
        .insert_header((CONTENT_SECURITY_POLICY, DocsPage::policy()))
        .body(DOCS.as_str())
}

/// The schemas of the file, and those that the data of commands is held to.
fn shapes() -> Value {
    let mut shapes: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap_or_default();
    let named = |name| format!("command_{name}");
    let one_of: Vec<Value> = command::schemas()
        .map(|(name, _)| json!({ "$ref": format!("#/components/schemas/{}", named(name)) }))
        .collect();
    let about = "What goes with a command: the schema with the command's name.";
    shapes.insert("CommandData".to_owned(), json!({"type": "object", "description": about, "anyOf": one_of}));
    shapes.extend(command::schemas().map(|(name, schema)| (named(name), schema.clone())));
    Value::Object(shapes)
}

fn paths() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for group in &GROUPS {
        for call in group.calls {
            let path = paths.entry(call.path).or_insert_with(|| json!({}));
            if let Some(methods) = path.as_object_mut() {
                methods.extend(call.operations(group.title));
            }
        }
    }
    Value::Object(paths)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn named(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(name) = members.get("$ref").and_then(Value::as_str) {
                    names.insert(name.rsplit('/').next().unwrap().to_owned());
                }
                members.values().for_each(|member| named(member, names));
            }
            Value::Array(elements) => elements.iter().for_each(|element| named(element, names)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn each_schema_is_used_and_each_one_used_is_there() {
        let (mut used, shapes) = (BTreeSet::new(), &*SHAPES);
        named(&paths(), &mut used);
        named(shapes, &mut used);
        let there: BTreeSet<String> = shapes.as_object().unwrap().keys().cloned().collect();
        assert_eq!(used, there);
    }

    #[test]
    fn no_two_calls_share_a_name_or_a_place() {
        let mut ids = BTreeSet::new();
        for methods in paths().as_object().unwrap().values() {
            for operation in methods.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
            }
        }
        let calls = GROUPS.iter().flat_map(|group| group.calls);
        assert_eq!(ids.len(), calls.map(|call| 1 + call.also.len()).sum::<usize>());
    }

    #[test]
    fn the_schemas_of_query_members_are_json() {
        for parameter in GROUPS.iter().flat_map(|group| group.calls).flat_map(|call| call.query) {
            assert!(
                serde_json::from_str::<Value>(parameter.schema).unwrap().is_object(),
                "{}",
                parameter.name
            );
        }
    }
}
