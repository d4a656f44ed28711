//! The owner works at the console: each page shows what is there, each form does what the API does.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Attempt, Browser, Home, PASSWORD, Provider, Service, until};

async fn api(service: &Service, path: &str) -> Value {
    service.owner(Method::GET, path, None).await.expect(200)
}

fn text(configuration: &Value) -> String {
    configuration.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_told_the_first_steps_until_they_are_done() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let empty = service.look("/admin").await.expect(200);
    assert!(empty.contains("First steps") && !empty.contains(">done<"), "{empty}");
    let home = Home::enrol(&service, &provider).await;
    assert_eq!(service.look("/admin/").await.expect(200).matches(">done<").count(), 3);
    home.link(&service).await;
    let html = service.look("/admin").await.expect(200);
    assert!(!html.contains("First steps") && html.contains("<b>1</b> of 1 slot"), "{html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_added_changed_and_deleted() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let configuration = provider.configuration();
    let added = service
        .fill_in("/admin/plugins/new", &[("plugin", "acme"), ("configuration", &text(&configuration))])
        .await;
    assert_eq!(added.done(), ("/admin/plugins/acme", "plugin-added"));
    let html = service.look("/admin/plugins/acme?done=plugin-added").await.expect(200);
    for part in ["The plugin is in the store", "/api/cloudlink/redirect/acme<", "Acme Thermostats"] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let host = provider.url.trim_start_matches("https://");
    assert!(service.look("/admin/plugins").await.expect(200).contains(host));

    // Masked means unchanged: what the page shows can be sent back.
    let mut shown = api(&service, "/api/plugins/acme").await;
    shown["name"] = json!("Another name");
    for ours in ["plugin", "redirect_uris", "warnings"] {
        shown.as_object_mut().unwrap().remove(ours);
    }
    assert_eq!(shown["client_secret"], "********");
    let stored = service.fill_in("/admin/plugins/acme", &[("configuration", &text(&shown))]).await;
    assert_eq!(stored.done(), ("/admin/plugins/acme", "plugin-stored"));
    let home = Home::bare(&service).await;
    home.install(&service, "acme", json!({})).await.expect(201);
    home.link(&service).await;
    assert_eq!(provider.requests()[0].form["client_secret"], "the-secret");

    let sure = service.look("/admin/plugins/acme/delete").await.expect(200);
    assert!(sure.contains("Delete the plugin acme?"), "{sure}");
    let deleted = service.fill_in("/admin/plugins/acme/delete", &[]).await;
    assert_eq!(deleted.done(), ("/admin/plugins", "plugin-deleted"));
    for path in ["/admin/plugins/acme", "/admin/plugins/acme/delete"] {
        assert_eq!(service.look(path).await.status, 404);
    }
    assert_eq!(service.fill_in("/admin/plugins/acme", &[("configuration", "{}")]).await.status, 404);
    assert_eq!(service.fill_in("/admin/plugins/acme/approve", &[]).await.status, 404);
    assert_eq!(service.fill_in("/admin/plugins/acme/delete", &[]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_does_not_fit_comes_back_with_the_apis_words() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let wrong = json!({"name": "typed by hand", "token_auth": "sometimes"});
    let told = service.owner(Method::PUT, "/api/plugins/acme", Some(wrong.clone())).await.expect(422);
    let html = service
        .fill_in("/admin/plugins/new", &[("plugin", "acme"), ("configuration", &text(&wrong))])
        .await
        .expect(422);
    let errors = told["errors"].as_array().unwrap();
    assert!(errors.len() > 2);
    for error in errors {
        let field = format!("<code>{}</code>", error["field"].as_str().unwrap());
        assert!(html.contains(&field), "{field}: {html}");
    }
    assert!(html.contains("typed by hand") && html.contains("value=\"acme\""), "{html}");

    let broken =
        service.fill_in("/admin/plugins/new", &[("plugin", "acme"), ("configuration", "{\n  \"name\": x}")]);
    let html = broken.await.expect(400);
    assert!(html.contains("line 2") && html.contains("&#34;name&#34;: x}"), "{html}");
    let html = service
        .fill_in("/admin/plugins/new", &[("plugin", "No!"), ("configuration", "{}")])
        .await
        .expect(422);
    assert!(html.contains("<code>/plugin</code>"), "{html}");

    service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configuration())).await.expect(201);
    let again = [("plugin", "acme"), ("configuration", r#"{"name": "other"}"#)];
    let html = service.fill_in("/admin/plugins/new", &again).await.expect(422);
    assert!(html.contains("is in the store already"), "{html}");
    let html =
        service.fill_in("/admin/plugins/acme", &[("configuration", r#"{"name": "x"}"#)]).await.expect(422);
    assert!(html.contains("<code>/auth_endpoint</code>"), "{html}");
    assert_eq!(api(&service, "/api/plugins/acme").await["name"], "Acme Thermostats");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_as_large_as_the_store_takes_fits_into_the_form() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let many: serde_json::Map<_, _> = (0..2_000).map(|n| (format!("m{n:04}"), json!("\"\"\"\"\""))).collect();
    let configuration = text(&provider.configured(json!({"unknown": many})));
    assert!(configuration.len() > 40_000 && configuration.len() < 48 * 1024, "{}", configuration.len());
    let fields = [("plugin", "acme"), ("configuration", configuration.as_str())];
    assert_eq!(service.fill_in("/admin/plugins/new", &fields).await.done().1, "plugin-added");
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_a_plugin_in_quarantine_is_shown_first_and_can_be_approved() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let twin = provider.configured(json!({"token_endpoint": "http://127.0.0.1:1/token"}));
    service.owner(Method::PUT, "/api/plugins/twin", Some(twin)).await.expect(201);
    let overview = service.look("/admin").await.expect(200);
    assert!(
        overview.contains("/admin/plugins/twin") && overview.contains("waits for approval"),
        "{overview}"
    );
    let html = service.look("/admin/plugins/twin").await.expect(200);
    assert!(html.contains("Waits for your approval") && html.contains("127.0.0.1:1<"), "{html}");
    assert!(!service.look("/admin/plugins/acme").await.expect(200).contains("Waits for your approval"));
    let slot = [("plugin", "twin"), ("slot", "twin")];
    service.fill_in(&format!("/admin/devices/{}/install", home.device), &slot).await.done();
    let authenticate = format!("/admin/devices/{}/slots/twin/authenticate", home.device);
    let html = service.fill_in(&authenticate, &[]).await.expect(409);
    assert!(html.contains("the owner must approve"), "{html}");
    let approved = service.fill_in("/admin/plugins/twin/approve", &[]).await;
    assert_eq!(approved.done(), ("/admin/plugins/twin", "plugin-approved"));
    assert!(!service.look("/admin").await.expect(200).contains("waits for approval"));
    assert_eq!(service.fill_in(&authenticate, &[]).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_enrolled_renamed_given_keys_and_removed() {
    let service = Service::start().await;
    let made = service.fill_in("/admin/enrolment", &[]).await.expect(200);
    let (_, rest) = made.split_once("class=\"bigcode\"><code>").unwrap();
    let code = rest.split('<').next().unwrap();
    assert!(made.contains("/api/devices --json"), "{made}");
    let body = json!({"name": "Hub", "password": PASSWORD, "enrolment_code": code});
    let request = service.request(Method::POST, "/api/devices").header("content-type", "application/json");
    let enrolled = crate::harness::Reply::of(request.body(body.to_string())).await.expect(201);
    assert!(!service.look("/admin/enrolment").await.expect(200).contains(code), "it is shown once");

    let device = format!("/admin/devices/{}", enrolled["device"].as_str().unwrap());
    assert!(service.look("/admin/devices").await.expect(200).contains(&device));
    let renamed = service.fill_in(&format!("{device}/name"), &[("name", "Cellar")]).await;
    assert_eq!(renamed.done(), (device.as_str(), "device-renamed"));
    assert_eq!(service.fill_in(&format!("{device}/name"), &[("name", "")]).await.status, 422);
    assert!(service.look(&device).await.expect(200).contains("Cellar"));

    let jwk = Home::bare(&service).await.jwk().to_string();
    let added = service.fill_in(&format!("{device}/keys"), &[("label", "spare"), ("public_key", &jwk)]).await;
    assert_eq!(added.done(), (device.as_str(), "key-added"));
    let html = service.look(&device).await.expect(200);
    assert!(html.contains("spare") && html.contains("never used"), "{html}");
    let keys = api(&service, &format!("/api{}/keys", device.trim_start_matches("/admin"))).await;
    let key_hash = keys[0]["key_hash"].as_str().unwrap();
    let (_, link) = html.split_once("keys/remove?key_hash=").unwrap();
    let asked = format!("{device}/keys/remove?key_hash={}", link.split('"').next().unwrap());
    let sure = service.look(&asked).await.expect(200);
    assert!(sure.contains("Remove the key spare?"), "{sure}");
    let removed = service.fill_in(&format!("{device}/keys/remove"), &[("key_hash", key_hash)]).await;
    assert_eq!(removed.done(), (device.as_str(), "key-removed"));
    assert_eq!(service.look(&asked).await.status, 404);
    assert_eq!(
        service.fill_in(&format!("{device}/keys/remove"), &[("key_hash", key_hash)]).await.status,
        404
    );

    assert!(
        service.look(&format!("{device}/remove")).await.expect(200).contains("Remove the device Cellar?")
    );
    let removed = service.fill_in(&format!("{device}/remove"), &[]).await;
    assert_eq!(removed.done(), ("/admin/devices", "device-removed"));
    assert_eq!(service.look(&device).await.status, 404);
    for form in ["name", "keys", "remove"] {
        let fields = [("name", "x"), ("label", "x"), ("public_key", jwk.as_str())];
        assert_eq!(service.fill_in(&format!("{device}/{form}"), &fields).await.status, 404, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_password_is_replaced_and_the_keys_stay_unless_the_owner_says_otherwise() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let path = format!("/admin/devices/{}/password", home.device);
    let html = service.fill_in(&path, &[("new_password", "canary-short")]).await.expect(422);
    assert!(html.contains("/new_password") && !html.contains("canary"), "{html}");
    let keys = format!("/api/devices/{}/keys", home.device);
    for (reset, left) in [("", 1), ("yes", 0)] {
        let fields = [("new_password", "seven loud herons eat soup"), ("reset_acl", reset)];
        assert_eq!(service.fill_in(&path, &fields).await.done().1, "password-changed");
        assert_eq!(api(&service, &keys).await.as_array().unwrap().len(), left);
    }
    let account = crate::harness::Account { service: &service, network: "198.51.100.1" };
    account.login(&home.device, "seven loud herons eat soup").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_with_variables_is_installed_and_installed_again() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::bare(&service).await;
    let variables = json!({"variables": {
        "shop": {"title": "Name of the shop", "pattern": "[a-z]+"},
        "region": {"enum": ["eu", "us"], "default": "us"},
    }});
    service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configured(variables))).await.expect(201);
    let device = format!("/admin/devices/{}", home.device);
    let form = service.look(&format!("{device}/install?plugin=acme")).await.expect(200);
    for part in
        ["Name of the shop", "name=\"variable.shop\"", "<option selected>us</option>", "value=\"acme\""]
    {
        assert!(form.contains(part), "{part}: {form}");
    }
    let install = format!("{device}/install");
    let mut fields =
        vec![("plugin", "acme"), ("slot", "one"), ("variable.shop", "NO"), ("variable.region", "eu")];
    let html = service.fill_in(&install, &fields).await.expect(422);
    assert!(html.contains("<code>/variables/shop</code>") && html.contains("value=\"NO\""), "{html}");
    assert!(html.contains("<option selected>eu</option>"), "{html}");
    fields[2].1 = "tea";
    let installed = service.fill_in(&install, &fields).await;
    assert_eq!(installed.done(), (format!("{device}/slots/one").as_str(), "slot-installed"));

    let html = service.fill_in(&install, &fields).await.expect(422);
    assert!(html.contains("is there already"), "{html}");
    let again = service.look(&format!("{device}/install?plugin=acme&slot=one")).await.expect(200);
    assert!(again.contains("value=\"tea\"") && again.contains("<option selected>eu</option>"), "{again}");
    fields.push(("again", "yes"));
    assert_eq!(service.fill_in(&install, &fields).await.done().1, "slot-again");

    assert_eq!(service.look(&format!("{device}/install?plugin=unknown")).await.status, 404);
    let elsewhere = "/admin/devices/6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10/install";
    assert_eq!(service.look(&format!("{elsewhere}?plugin=acme")).await.status, 404);
    assert_eq!(service.fill_in(elsewhere, &fields).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn c08_a_slot_is_linked_from_the_console_shown_with_who_did_it_and_unlinked() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let device = format!("/admin/devices/{}", home.device);
    let slot = format!("{device}/slots/{}", home.slot);
    let page = service.look(&slot).await;
    let policy = page.header("content-security-policy").to_owned();
    assert!(
        policy.ends_with("form-action 'self' http://127.0.0.1:9"),
        "the form leads to the public URL: {policy}"
    );
    assert!(page.html.contains("not linked") && !page.html.contains("Unlink …"), "{}", page.html);

    let started = service.fill_in(&format!("{slot}/authenticate"), &[]).await;
    assert_eq!(started.status, 303);
    let mut browser = Browser::default();
    let sent = browser.consent(&service, started.header("location")).await;
    assert_eq!(browser.callback(&service, &sent, &[("code", "a-code")]).await.status, 303);
    for page in [&slot, &device] {
        let html = service.look(page).await.expect(200);
        for part in [">linked<", "Token until", "Linked", "by a browser from 127.0.0.1", "Unlink …"] {
            assert!(html.contains(part), "{page}: {part}: {html}");
        }
    }
    assert!(service.look(&format!("{slot}/unlink")).await.expect(200).contains("Unlink heating?"));
    let unlinked = service.fill_in(&format!("{slot}/unlink"), &[]).await;
    assert_eq!(unlinked.done(), (slot.as_str(), "unlinked"));
    let html = service.look(&slot).await.expect(200);
    assert!(html.contains("not linked") && html.contains("<b>Unlinked</b>"), "{html}");
    assert_eq!(home.show(&service).await["status"], "unlinked");
    assert_eq!(service.fill_in(&format!("{slot}/unlink"), &[]).await.done().1, "not-linked");

    let refused = Attempt::start(&service, &home).await;
    let mut refused = refused;
    refused.back(&service, &[("error", "access_denied")]).await;
    let html = service.look(&device).await.expect(200);
    assert!(html.contains("Refused at the provider") && html.contains("the person refused there"), "{html}");

    assert!(service.look(&format!("{slot}/remove")).await.expect(200).contains("Remove the slot heating?"));
    let removed = service.fill_in(&format!("{slot}/remove"), &[]).await;
    assert_eq!(removed.done(), (device.as_str(), "slot-removed"));
    assert_eq!(service.look(&slot).await.status, 404);
    for form in ["authenticate", "unlink", "remove"] {
        assert_eq!(service.fill_in(&format!("{slot}/{form}"), &[]).await.status, 404, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_the_six_digits_can_be_typed_where_the_owner_started() {
    let service = Service::with(&[("CONSENT__BINDING", "code")]).await;
    let provider = Provider::start().await;
    let home = Home::enrol(&service, &provider).await;
    let slot = format!("/admin/devices/{}/slots/{}", home.device, home.slot);
    let started = service.fill_in(&format!("{slot}/authenticate"), &[]).await;
    let mut browser = Browser::default();
    let sent = browser.consent(&service, started.header("location")).await;
    let after = browser.callback(&service, &sent, &[("code", "a-code")]).await;
    let page = browser.open(&service, after.location()).await;
    let (_, rest) = page.html.split_once("<p class=\"digits\"").unwrap();
    let digits: String = rest.split("<code>").nth(1).unwrap().chars().take(6).collect();

    let html = service.look(&slot).await.expect(200);
    let (_, rest) = html.split_once("name=\"flow\" value=\"").expect("a field for the code");
    let flow = rest.split('"').next().unwrap();
    let confirm = format!("{slot}/confirm");
    let wrong = if digits == "000000" { "000001" } else { "000000" };
    let html = service.fill_in(&confirm, &[("flow", flow), ("code", wrong)]).await.expect(422);
    assert!(html.contains("4 tries are left"), "{html}");
    let spaced = format!("{} {}", &digits[..3], &digits[3..]);
    let confirmed = service.fill_in(&confirm, &[("flow", flow), ("code", &spaced)]).await;
    assert_eq!(confirmed.done(), (slot.as_str(), "confirmed"));
    assert_eq!(home.show(&service).await["status"], "linked");
    assert_eq!(service.fill_in(&confirm, &[("flow", flow), ("code", &digits)]).await.status, 409);
    let unknown = "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10";
    assert_eq!(service.fill_in(&confirm, &[("flow", unknown), ("code", &digits)]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_paged_both_ways_and_can_be_narrowed_to_one_thing() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    for _ in 0..120 {
        service.owner(Method::POST, "/api/enrolment-codes", None).await.expect(201);
    }
    let entries = |html: &str| html.matches("<time class=\"quiet\"").count();
    let link = |html: &str, name: &str| {
        let before = html.split(&format!("\">{name}</a>")).next().unwrap();
        let found = html.contains(&format!("\">{name}</a>"));
        found.then(|| before.rsplit("href=\"").next().unwrap().replace("&#38;", "&").replace("&amp;", "&"))
    };
    let newest = service.look("/admin/audit").await.expect(200);
    assert_eq!((entries(&newest), link(&newest, "Newer")), (100, None));
    let older = service.look(&link(&newest, "Older").unwrap()).await.expect(200);
    assert_eq!((entries(&older), link(&older, "Older")), (24, None));
    assert!(older.contains("heating on Living room"), "{older}");
    let back = service.look(&link(&older, "Newer").unwrap()).await.expect(200);
    assert_eq!(entries(&back), 100);

    let subject = format!("/admin/audit?subject=device:{}", home.device);
    let about = service.look(&subject).await.expect(200);
    assert_eq!(entries(&about), 2, "{about}");
    assert!(about.contains("Device enrolled") && about.contains("Key trusted"), "{about}");
    assert_eq!(service.look("/admin/audit?before=x").await.status, 400);
    assert_eq!(entries(&service.look("/admin/audit?after=999999").await.expect(200)), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let configuration = provider.configured(json!({"redirect_uri": "own"}));
    for number in 0..101 {
        let path = format!("/api/plugins/p{number:03}");
        service.owner(Method::PUT, &path, Some(configuration.clone())).await.expect(201);
    }
    let first = service.look("/admin/plugins").await.expect(200);
    assert!(first.contains("/admin/plugins/p099\"") && !first.contains("/admin/plugins/p100\""));
    let (_, next) = first.split_once("/admin/plugins?after=").unwrap();
    let next = format!("/admin/plugins?after={}", next.split('"').next().unwrap());
    let second = service.look(&next).await.expect(200);
    assert!(second.contains("/admin/plugins/p100\"") && !second.contains("after="), "{second}");
    Home::bare(&service).await;
    Home::bare(&service).await;
    let devices = api(&service, "/api/devices").await;
    let (one, two) = (devices[0]["device"].as_str().unwrap(), devices[1]["device"].as_str().unwrap());
    let behind = service.look(&format!("/admin/devices?after={one}")).await.expect(200);
    assert!(behind.contains(two) && !behind.contains(one), "{behind}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_names_slots_whose_user_must_link_again() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    #[allow(clippy::disallowed_methods, reason = "no call brings a slot there yet")]
    sqlx::query("update slots set status = 'reauthorize', reason = 'invalid_grant'")
        .execute(&service.database.pool)
        .await
        .unwrap();
    let html = service.look("/admin").await.expect(200);
    let page = format!("/admin/devices/{}/slots/heating", home.device);
    assert!(html.contains(&page) && html.contains("link again"), "{html}");
    let unlinked = service.fill_in(&format!("{page}/unlink"), &[]).await;
    assert_eq!(unlinked.done().1, "unlinked");
    until("the overview to be calm", async || {
        let html = service.look("/admin").await.expect(200);
        (!html.contains("link again")).then_some(())
    })
    .await;
}
