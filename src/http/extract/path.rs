//! The names in a path. What is no name does not exist: 404, like everything else that does not. Where a
//! PUT would create the thing, its name is input, and a wrong one a 422.
//!
//! Routes name their segments `{plugin}`, `{device}`, `{slot}`, `{flow}` and `{key_hash}`. Segments are
//! percent-decoded once; an encoded slash stays inside of its segment.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use serde::Deserialize;

use crate::{
    domain::{
        ids::{DeviceId, FlowId, KeyHash, NameError, PluginId, SlotAddress, SlotName},
        plugin::FieldError,
    },
    http::error::Problem,
};

macro_rules! paths {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl FromRequest for $name {
            type Error = Problem;
            type Future = Ready<Result<Self, Problem>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                ready(request.match_info().load().map_err(|_| Problem::not_found()))
            }
        }
    )*};
}

paths! {
    /// `…/{plugin}`
    PluginPath {
        /// The plugin.
        plugin: PluginId,
    }
    /// `…/{device}`
    DevicePath {
        /// The device.
        device: DeviceId,
    }
    /// `…/{device}/…/{slot}`
    SlotPath {
        /// The device.
        device: DeviceId,
        /// The slot on it.
        slot: SlotName,
    }
    /// `…/{device}/…/{slot}/…/{flow}`
    FlowPath {
        /// The device.
        device: DeviceId,
        /// The slot on it.
        slot: SlotName,
        /// The flow.
        flow: FlowId,
    }
    /// `…/{device}/…/{name}`
    CommandPath {
        /// The device.
        device: DeviceId,
        /// The command's name; any text, as it has to be found anyway.
        name: String,
    }
    /// `…/{device}/…/{key_hash}`
    KeyPath {
        /// The device.
        device: DeviceId,
        /// The trusted key's name; any text, as it has to be found anyway.
        key_hash: KeyHash,
    }
}

impl SlotPath {
    /// Both as one.
    pub fn address(self) -> SlotAddress {
        SlotAddress { device: self.device, slot: self.slot }
    }
}

impl FlowPath {
    /// Device and slot as one.
    pub fn address(&self) -> SlotAddress {
        SlotAddress { device: self.device, slot: self.slot.clone() }
    }
}

/// `…/{plugin}` of a PUT: a name that cannot be one is a 422.
#[derive(Debug, Clone)]
pub struct NewPlugin(pub PluginId);

/// `…/{device}/…/{slot}` of a PUT: a slot name that cannot be one is a 422.
#[derive(Debug, Clone)]
pub struct NewSlot(pub SlotAddress);

#[derive(Deserialize)]
struct PluginText {
    plugin: String,
}

#[derive(Deserialize)]
struct SlotText {
    device: DeviceId,
    slot: String,
}

impl FromRequest for NewPlugin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let path = request.match_info().load::<PluginText>().map_err(|_| Problem::not_found());
        ready(path.and_then(|path| path.plugin.parse().map(Self).map_err(|error| misnamed("/plugin", error))))
    }
}

impl FromRequest for NewSlot {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let path = request.match_info().load::<SlotText>().map_err(|_| Problem::not_found());
        ready(path.and_then(|SlotText { device, slot }| {
            let slot = slot.parse().map_err(|error| misnamed("/slot", error))?;
            Ok(Self(SlotAddress { device, slot }))
        }))
    }
}

fn misnamed(field: &str, error: NameError) -> Problem {
    Problem::invalid(vec![FieldError { field: field.to_owned(), detail: error.to_string() }])
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, test, web};

    use super::*;

    async fn status(method: actix_web::http::Method, path: &str) -> u16 {
        let app = App::new()
            .route("/d/{device}/s/{slot}", web::get().to(async |_: SlotPath| HttpResponse::Ok()))
            .route("/d/{device}/s/{slot}", web::put().to(async |_: NewSlot| HttpResponse::Ok()))
            .route("/p/{plugin}", web::put().to(async |_: NewPlugin| HttpResponse::Ok()))
            .route("/d/{device}/k/{key_hash}", web::delete().to(async |path: KeyPath| path.key_hash.0));
        let app = test::init_service(app).await;
        let request = test::TestRequest::default().method(method).uri(path).to_request();
        test::call_service(&app, request).await.status().as_u16()
    }

    const DEVICE: &str = "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10";

    #[actix_web::test]
    async fn what_is_no_name_is_not_found_and_cannot_be_put() {
        use actix_web::http::Method;
        for (slot, get, put) in
            [("ecobee", 200, 200), ("a%2Fb", 404, 422), ("A", 404, 422), ("%65cobee", 200, 200)]
        {
            assert_eq!(status(Method::GET, &format!("/d/{DEVICE}/s/{slot}")).await, get, "{slot}");
            assert_eq!(status(Method::PUT, &format!("/d/{DEVICE}/s/{slot}")).await, put, "{slot}");
        }
        assert_eq!(status(Method::PUT, "/d/7/s/ecobee").await, 404);
        assert_eq!(status(Method::PUT, "/p/-x").await, 422);
    }

    #[actix_web::test]
    async fn a_key_hash_is_decoded_once() {
        let app = App::new()
            .route("/d/{device}/k/{key_hash}", web::delete().to(async |path: KeyPath| path.key_hash.0));
        let app = test::init_service(app).await;
        for (written, meant) in
            [("SHA256:a%2Fb%2Bc", "SHA256:a/b+c"), ("SHA256%3Aa+b", "SHA256:a+b"), ("%252F", "%2F")]
        {
            let request = test::TestRequest::delete().uri(&format!("/d/{DEVICE}/k/{written}")).to_request();
            assert_eq!(test::call_and_read_body(&app, request).await, meant, "{written}");
        }
    }
}
