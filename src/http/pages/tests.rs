//! What holds for every page.

use std::time::Duration;

use proptest::prelude::*;
use time::OffsetDateTime;
use url::Url;

use super::*;
use crate::domain::secret::ConfirmCode;

const HOSTILE: &str =
    "<script>alert(1)</script>\u{202e}\" onload='x' style=a {{ csrf }}\u{0}\r\nSet-Cookie: a";

fn connect(device: &str, plugin: &str, scope: Option<&str>) -> ConnectPage {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::from_mins(10);
    ConnectPage {
        device: Shown::name(device),
        plugin: Shown::name(plugin),
        provider: ShownHost::of(&Url::parse("https://auth.example.com/authorize").unwrap()).unwrap(),
        scope: Scope::of(scope),
        asked: AskedFrom::new(
            "203.0.113.9".parse().unwrap(),
            now - Duration::from_secs(130),
            now,
            Network::Same,
        ),
        next: NextStep::Done,
        csrf: "3q2-7w".to_owned(),
    }
}

fn login(client: &str, code: &str) -> LoginPage {
    LoginPage {
        client: Some(Shown::name(client)),
        asked: connect(client, client, None).asked,
        user_code: Some(Shown::name(code).to_string()),
        forms: vec![
            LoginForm::Owner,
            LoginForm::Device(Some(Shown::name(code).to_string())),
            LoginForm::Provider(ShownHost::of(&Url::parse("https://accounts.example").unwrap()).unwrap()),
        ],
        problem: Some(LoginProblem::Wrong),
        csrf: "3q2-7w".to_owned(),
    }
}

fn names(device: &str, plugin: &str) -> Names {
    Names { device: Shown::name(device), plugin: Shown::name(plugin) }
}

fn every_outcome() -> Vec<Outcome> {
    let code = || ConfirmCode::new("042917");
    let wait = Duration::from_secs(30);
    vec![
        Outcome::Exchanging(Watch::Looking),
        Outcome::Exchanging(Watch::LongEnough),
        Outcome::Delivering(Watch::Looking),
        Outcome::Delivering(Watch::LongEnough),
        Outcome::Linked,
        Outcome::Confirm(code(), Watch::Looking),
        Outcome::Confirm(code(), Watch::LongEnough),
        Outcome::Cancelled,
        Outcome::Denied,
        Outcome::Expired,
        Outcome::AlreadyUsed,
        Outcome::OtherBrowser,
        Outcome::OtherNetwork,
        Outcome::ProviderDown,
        Outcome::ProviderRefused(None),
        Outcome::ProviderRefused(ProviderError::known("invalid_scope")),
        Outcome::InvalidAnswer,
        Outcome::AnswerTooLarge,
        Outcome::WrongCode,
        Outcome::IssuerMismatch,
        Outcome::BadCallback,
        Outcome::BadRequest,
        Outcome::FormExpired,
        Outcome::NotFound,
        Outcome::Prefetch,
        Outcome::TooManyRequests(wait),
        Outcome::Busy(wait),
        Outcome::Internal,
        Outcome::SignIn(SignInEnd::Approved),
        Outcome::SignIn(SignInEnd::Cancelled),
        Outcome::SignIn(SignInEnd::NotAllowed),
        Outcome::SignIn(SignInEnd::OtherBrowser),
        Outcome::SignIn(SignInEnd::Expired),
        Outcome::SignIn(SignInEnd::Unknown),
        Outcome::SignIn(SignInEnd::BadCallback),
    ]
}

/// Every page with its name, with ordinary values and with hostile ones.
fn every_page() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for (kind, device, plugin, scope, code) in [
        ("plain", "Living room hub", "Ecobee", "smartRead,smartWrite", "BCDF-GHJK"),
        ("hostile", HOSTILE, HOSTILE, HOSTILE, HOSTILE),
    ] {
        pages.push((format!("{kind}-connect"), connect(device, plugin, Some(scope)).render()));
        let problems = [LinkProblem::Unknown, LinkProblem::TooManyTries(Duration::from_secs(90))];
        pages.push((format!("{kind}-login"), login(plugin, code).render()));
        pages.push((format!("{kind}-link"), LinkPage::new(None, "csrf").render()));
        pages.push((format!("{kind}-link-filled"), LinkPage::new(Some(code), "csrf").render()));
        for problem in problems.into_iter().chain([LinkProblem::FormExpired]) {
            let page = LinkPage::new(Some(code), "csrf").again(problem);
            pages.push((format!("{kind}-link-{problem:?}"), page.render()));
        }
        for outcome in every_outcome() {
            let name = format!("{kind}-{outcome:?}");
            pages.push((name, OutcomePage::new(outcome, Some(names(device, plugin))).render()));
        }
    }
    pages
}

#[test]
fn every_outcome_has_a_heading_what_happened_and_what_to_do_next() {
    for outcome in every_outcome() {
        let html = OutcomePage::new(outcome.clone(), None).render();
        for part in ["<h1>", "<p class=\"lead\" id=\"what\">", "<p class=\"next\">"] {
            let (_, text) = html.split_once(part).unwrap();
            let text = text.trim_start_matches("<bdi>");
            assert!(text.chars().take_while(|c| *c != '<').count() > 5, "{outcome:?} {part}");
        }
    }
}

#[test]
fn c09_every_failure_of_a_flow_says_that_an_earlier_link_still_works() {
    let sentence = "Your earlier link, if there was one, still works.";
    let says = |outcome| OutcomePage::new(outcome, None).render().contains(sentence);
    for failure in [
        Outcome::Cancelled,
        Outcome::Denied,
        Outcome::Expired,
        Outcome::ProviderDown,
        Outcome::ProviderRefused(None),
        Outcome::InvalidAnswer,
        Outcome::AnswerTooLarge,
        Outcome::WrongCode,
        Outcome::IssuerMismatch,
        Outcome::BadCallback,
    ] {
        assert!(says(failure.clone()), "{failure:?}");
    }
    assert!(!says(Outcome::Linked) && !says(Outcome::NotFound));
}

#[test]
fn d04_no_page_has_script_inline_style_or_foreign_content() {
    for (name, html) in every_page() {
        // Hostile text stays on the page, escaped: what is looked at is the markup, without text and values.
        let markup = markup(&html);
        assert!(
            !markup.contains("<script") && !markup.contains(" style") && !markup.contains("<iframe"),
            "{name}"
        );
        assert!(!markup.split_whitespace().any(|word| word.starts_with("on")), "{name}: {markup}");
        assert!(!html.contains("://") && !html.contains("=\"//"), "{name}");
    }
}

/// The tags of a page and the names of their attributes.
fn markup(html: &str) -> String {
    let tags =
        html.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| format!("<{tag}> "));
    let without_values = |tag: String| tag.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    tags.map(without_values).collect()
}

#[test]
fn every_page_is_for_people_on_phones_and_not_for_search_engines() {
    for (name, html) in every_page() {
        assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"), "{name}");
        for wanted in
            ["name=\"viewport\"", "content=\"noindex, nofollow\"", "content=\"no-referrer\"", "<main>"]
        {
            assert!(html.contains(wanted), "{name} lacks {wanted}");
        }
        assert_eq!(html.matches("<h1>").count(), 1, "{name}");
        assert!(html.contains(&assets::stylesheet().path), "{name}");
    }
}

#[test]
fn c03_the_page_before_consent_names_who_what_where_and_offers_cancel_first() {
    let html = connect("Living room hub", "Ecobee", Some("smartRead,smartWrite")).render();
    for wanted in
        ["Living room hub", "Ecobee", "auth.example.com", "<code>smartRead</code>", "<code>smartWrite</code>"]
    {
        assert!(html.contains(wanted), "{wanted}");
    }
    assert!(html.contains("203.0.113.9</span>, 2 minutes ago"));
    assert!(html.contains("You will be sent to <span class=\"host\">auth.example.com</span> to sign in"));
    assert!(html.contains("If you did not start this on your device just now, press Cancel."));
    assert!(html.contains("<form method=\"post\">") && html.contains("name=\"csrf\" value=\"3q2-7w\""));
    let cancel = html.find("name=\"decision\" value=\"cancel\"").unwrap();
    assert!(cancel < html.find("name=\"decision\" value=\"continue\"").unwrap());
}

#[test]
fn c02_where_a_code_will_be_asked_for_the_page_says_so() {
    let page = |next| ConnectPage { next, ..connect("d", "p", None) }.render();
    assert!(page(NextStep::Code).contains("six digits"));
    assert!(!page(NextStep::Done).contains("six digits"));
}

#[test]
fn an_absent_scope_and_empty_names_have_words_too() {
    let html = connect("\u{202e}", "", None).render();
    assert!(html.contains("none asked for") && html.contains("A device without a name"));
    let linked = OutcomePage::new(Outcome::Linked, Some(names("", "\u{0}"))).render();
    assert!(linked.contains("<bdi>Your plugin</bdi> on <bdi>your device</bdi> has it."), "{linked}");
}

#[test]
fn d02_hostile_text_adds_no_markup_to_any_page() {
    for (name, html) in every_page() {
        let inert =
            !html.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c));
        assert!(inert, "{name}");
        assert!(!html.contains("<script"), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn d02_no_input_brings_markup_nul_or_direction_into_a_page(text in "(<[a-z/!]|[\"'&<>\\x00\\r\\n]|\u{202e}|\u{2066}|\u{200f}|\\PC|a){0,40}") {
        let tags = |html: &str| html.matches('<').count();
        let page = connect(&text, &text, Some(&text)).render();
        let words = page.matches("<li><code>").count();
        // A word of the scope costs four tags; its list, two.
        let expected = tags(&connect("a", "a", None).render()) + words * 4 + if words > 0 { 2 } else { 0 };
        prop_assert_eq!(tags(&page), expected);
        let outcome = OutcomePage::new(Outcome::Linked, Some(names(&text, &text))).render();
        prop_assert_eq!(tags(&outcome), tags(&OutcomePage::new(Outcome::Linked, None).render()));
        let link = LinkPage::new(Some(&text), text.as_str()).again(LinkProblem::Unknown).render();
        let blank = LinkPage::new(None, "").again(LinkProblem::Unknown).render();
        prop_assert_eq!(tags(&link), tags(&blank));
        for html in [page, outcome] {
            let treacherous = html.contains(['\u{0}', '\r', '\u{202e}', '\u{2066}', '\u{200f}']);
            prop_assert!(!treacherous);
        }
    }
}
