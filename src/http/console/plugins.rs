//! `/admin/plugins`: the plugin store.

use actix_web::{HttpResponse, http::StatusCode, web};
use askama::Template;
use serde_json::Value;

use super::{
    page::{Around, Complaint, Section, SurePage, done, page, status},
    refused::Refused,
    visit::{Posted, Visit},
    words::plugin_page,
};
use crate::{
    domain::{
        ids::PluginId,
        json::{self, Object},
        plugin::Warning,
    },
    flows::{Broker, PluginView},
    http::{
        error::Problem,
        extract::{PluginPath, QueryPairs},
        pages::{Shown, Written, assets},
    },
};

/// What a new plugin's field is filled with.
const SKELETON: &str = r#"{
  "name": "",
  "client_id": "",
  "client_secret": "",
  "auth_endpoint": "https://",
  "token_endpoint": "https://",
  "scope": "",
  "addRedirect": true,
  "redirect_uri": "own"
}"#;

/// The routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/admin/plugins").route(web::get().to(list)))
        .service(
            web::resource("/admin/plugins/new").route(web::get().to(show_new)).route(web::post().to(add)),
        )
        .service(web::resource("/admin/plugins/{plugin}/approve").route(web::post().to(approve)))
        .service(
            web::resource("/admin/plugins/{plugin}/delete")
                .route(web::get().to(ask_to_delete))
                .route(web::post().to(delete)),
        )
        .service(
            web::resource(["/admin/plugins/{plugin}", "/admin/plugins/{plugin}/"])
                .route(web::get().to(show))
                .route(web::post().to(change)),
        );
}

/// A plugin in a list.
pub(super) struct PluginLine {
    pub(super) page: String,
    pub(super) id: PluginId,
    pub(super) name: Shown,
    pub(super) hosts: Vec<Shown>,
    pub(super) quarantined: bool,
    pub(super) warnings: usize,
}

impl PluginLine {
    pub(super) fn of(view: &PluginView) -> Self {
        let mut hosts: Vec<Shown> = [&view.claim.auth_origin, &view.claim.token_origin]
            .map(|origin| Shown::capped(origin.trim_start_matches("https://"), 260))
            .into();
        hosts.dedup();
        Self {
            page: plugin_page(&view.id),
            id: view.id.clone(),
            name: Shown::name(view.members.get("name").and_then(Value::as_str).unwrap_or_default()),
            hosts,
            quarantined: view.quarantined,
            // The quarantine is a warning too, and told by itself.
            warnings: view.warnings.len().saturating_sub(usize::from(view.quarantined)),
        }
    }
}

#[derive(Template)]
#[template(path = "console/plugins.html")]
struct PluginsPage {
    around: Around,
    plugins: Vec<PluginLine>,
    next: Option<PluginId>,
}

#[derive(Template)]
#[template(path = "console/plugin.html")]
struct PluginPage {
    around: Around,
    complaint: Option<Complaint>,
    configuration: Written,
    line: PluginLine,
    warnings: Vec<(Shown, String)>,
    own: String,
    shared: String,
}

#[derive(Template)]
#[template(path = "console/new_plugin.html")]
struct NewPluginPage {
    around: Around,
    complaint: Option<Complaint>,
    configuration: Written,
    plugin: Shown,
    own: String,
}

async fn list(broker: web::Data<Broker>, visit: Visit, query: QueryPairs) -> Result<HttpResponse, Refused> {
    let after = query.one("after")?.and_then(|id| id.parse().ok());
    let listed = broker.list_plugins(after.as_ref()).await?;
    let next = listed.rows.last().filter(|_| listed.more).map(|view| view.id.clone());
    let plugins = listed.rows.iter().map(PluginLine::of).collect();
    Ok(page(StatusCode::OK, &PluginsPage { around: visit.around(Section::Plugins), plugins, next }))
}

async fn show_new(broker: web::Data<Broker>, visit: Visit) -> HttpResponse {
    new_page(&broker, visit, None, "", SKELETON)
}

async fn add(broker: web::Data<Broker>, posted: Posted) -> Result<HttpResponse, Refused> {
    let (plugin, text) = (posted.field("plugin").trim(), posted.field("configuration"));
    let complaint = match plugin.parse::<PluginId>() {
        Err(error) => Complaint::about("/plugin", &error),
        Ok(id) if broker.show_plugin(&id).await?.is_some() => {
            Complaint::about("/plugin", &"is in the store already: change it on its own page")
        }
        Ok(id) => match put(&broker, &posted.visit, &id, text).await? {
            None => return Ok(done(&plugin_page(&id), "plugin-added")),
            Some(complaint) => complaint,
        },
    };
    let (plugin, text) = (plugin.to_owned(), text.to_owned());
    Ok(new_page(&broker, posted.visit, Some(complaint), &plugin, &text))
}

async fn show(broker: web::Data<Broker>, visit: Visit, path: PluginPath) -> Result<HttpResponse, Refused> {
    let view = broker.show_plugin(&path.plugin).await?.ok_or_else(Refused::not_found)?;
    let text = pretty(&view.members);
    Ok(plugin_answer(visit, &view, None, &text))
}

async fn change(
    broker: web::Data<Broker>,
    posted: Posted,
    path: PluginPath,
) -> Result<HttpResponse, Refused> {
    let text = posted.field("configuration").to_owned();
    let view = broker.show_plugin(&path.plugin).await?.ok_or_else(Refused::not_found)?;
    match put(&broker, &posted.visit, &path.plugin, &text).await? {
        None => Ok(done(&plugin_page(&path.plugin), "plugin-stored")),
        Some(complaint) => Ok(plugin_answer(posted.visit, &view, Some(complaint), &text)),
    }
}

async fn approve(
    broker: web::Data<Broker>,
    posted: Posted,
    path: PluginPath,
) -> Result<HttpResponse, Refused> {
    if broker.approve_plugin(&path.plugin, &posted.visit.origin()).await? {
        Ok(done(&plugin_page(&path.plugin), "plugin-approved"))
    } else {
        Err(Refused::not_found())
    }
}

async fn ask_to_delete(
    broker: web::Data<Broker>,
    visit: Visit,
    path: PluginPath,
) -> Result<HttpResponse, Refused> {
    broker.show_plugin(&path.plugin).await?.ok_or_else(Refused::not_found)?;
    let sure = SurePage {
        around: visit.around(Section::Plugins),
        heading: format!("Delete the plugin {}?", path.plugin),
        what: "Its configuration and client secret go, and nobody can install it any more. Slots that have it keep \
               the copy they made, and stay linked.",
        action: format!("/admin/plugins/{}/delete", path.plugin),
        hidden: None,
        button: "Delete",
        back: plugin_page(&path.plugin),
    };
    Ok(sure.answer())
}

async fn delete(
    broker: web::Data<Broker>,
    posted: Posted,
    path: PluginPath,
) -> Result<HttpResponse, Refused> {
    if broker.remove_plugin(&path.plugin, &posted.visit.origin()).await? {
        Ok(done("/admin/plugins", "plugin-deleted"))
    } else {
        Err(Refused::not_found())
    }
}

/// Stores what was typed; or says why not.
async fn put(
    broker: &Broker,
    visit: &Visit,
    plugin: &PluginId,
    text: &str,
) -> Result<Option<Complaint>, Refused> {
    let members = match json::parse_object(text.as_bytes()) {
        Ok(members) => members,
        Err(error) => {
            let problem = Problem::bad_request("invalid_json", format!("Not accepted: {error}."));
            return Complaint::of(problem).map(Some);
        }
    };
    match broker.put_plugin(plugin, members, &visit.origin()).await {
        Ok(_) => Ok(None),
        Err(error) => Complaint::of(error).map(Some),
    }
}

fn new_page(
    broker: &Broker,
    visit: Visit,
    complaint: Option<Complaint>,
    plugin: &str,
    text: &str,
) -> HttpResponse {
    let own = broker.settings().public_url.join("/api/cloudlink/redirect/");
    page(
        status(complaint.as_ref()),
        &NewPluginPage {
            around: visit.around(Section::Plugins),
            complaint,
            configuration: Written::new(text),
            plugin: Shown::capped(plugin, 63),
            own,
        },
    )
}

fn plugin_answer(visit: Visit, view: &PluginView, complaint: Option<Complaint>, text: &str) -> HttpResponse {
    let warning = |warning: &Warning| (Shown::capped(&warning.field, 200), warning.detail.clone());
    let line = PluginLine::of(view);
    page(
        status(complaint.as_ref()),
        &PluginPage {
            around: visit.around(Section::Plugins),
            complaint,
            configuration: Written::new(text),
            warnings: view.warnings.iter().take(line.warnings).map(warning).collect(),
            own: view.own_redirect_uri.clone(),
            shared: view.shared_redirect_uri.clone(),
            line,
        },
    )
}

/// JSON as people write it.
pub(super) fn pretty(members: &Object) -> String {
    serde_json::to_string_pretty(members).unwrap_or_default()
}
