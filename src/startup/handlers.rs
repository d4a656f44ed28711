//! What the handlers of the two listeners are given, and which routes each has.

use actix_web::{HttpResponse, web};

use super::bounds::Bounds;
use crate::{
    flows::{Broker, WebhookRates},
    http::{
        self, account_link::AccountLinkSockets, health::Readiness, throttle::Throttles,
        webhook_bodies::WebhookBodies,
    },
    relay::Relay,
    telemetry::Metrics,
};

/// What handlers are given.
#[derive(Clone)]
pub(super) struct HandlerData {
    pub(super) broker: web::Data<Broker>,
    pub(super) relay: web::Data<Relay>,
    pub(super) readiness: web::Data<Readiness>,
    pub(super) throttles: web::Data<Throttles>,
    pub(super) webhook_rates: web::Data<WebhookRates>,
    pub(super) webhook_bodies: web::Data<WebhookBodies>,
    pub(super) account_link: web::Data<AccountLinkSockets>,
    /// What `/metrics` answers with, where metrics are recorded.
    pub(super) metrics: Option<(web::Data<Metrics>, web::Data<Bounds>)>,
}

impl HandlerData {
    fn give(&self, config: &mut web::ServiceConfig) {
        config
            .app_data(self.broker.clone())
            .app_data(self.relay.clone())
            .app_data(self.readiness.clone())
            .app_data(self.throttles.clone())
            .app_data(self.account_link.clone())
            .app_data(self.webhook_rates.clone())
            .app_data(self.webhook_bodies.clone());
    }

    pub(super) fn public(&self, config: &mut web::ServiceConfig) {
        self.give(config);
        http::public_routes(config);
    }

    pub(super) fn admin(&self, config: &mut web::ServiceConfig) {
        self.give(config);
        http::admin_routes(config);
        if let Some((metrics, bounds)) = &self.metrics {
            config
                .app_data(metrics.clone())
                .app_data(bounds.clone())
                .route("/metrics", web::get().to(render_metrics));
        }
    }
}

async fn render_metrics(metrics: web::Data<Metrics>, bounds: web::Data<Bounds>) -> HttpResponse {
    bounds.sample();
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(metrics.render())
}
