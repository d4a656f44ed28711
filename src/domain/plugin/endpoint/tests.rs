use proptest::prelude::*;

use super::*;

const PUBLIC: EgressPolicy = EgressPolicy::PublicOnly;

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn resolve(template: &str, pairs: &[(&str, &str)]) -> Result<String, EndpointError> {
    EndpointTemplate::parse_authorization(template, PUBLIC)?.resolve(&values(pairs), PUBLIC).map(String::from)
}

#[test]
fn e01_what_is_no_https_url_of_a_public_host_is_refused() {
    let table = [
        ("http://a.example/t", EndpointError::NotHttps),
        ("file:///etc/passwd", EndpointError::NotHttps),
        ("gopher://a.example/", EndpointError::NotHttps),
        ("a.example/t", EndpointError::NotHttps),
        ("https:/a.example/t", EndpointError::NotHttps),
        ("https://u:p@a.example/t", EndpointError::UserInfo),
        ("https://@a.example/t", EndpointError::UserInfo),
        ("https://a.example/t#x", EndpointError::Fragment),
        ("https://a.example/#/t", EndpointError::Fragment),
        ("https:///a.example/t", EndpointError::NotAUrl),
        ("https://", EndpointError::NotAUrl),
        ("https://a.example:99999/", EndpointError::NotAUrl),
        ("https://a.example\\@b.example/", EndpointError::Character),
        ("https://a.example/\r\nx", EndpointError::Character),
        ("https://a.example/a/../b", EndpointError::DotSegment),
        ("https://127.0.0.1/t", EndpointError::Host(HostError::NotPublic)),
        ("https://0x7f.1/t", EndpointError::Host(HostError::NotPublic)),
        ("https://localhost/t", EndpointError::Host(HostError::NotPublic)),
        ("https://{x}.localhost/t", EndpointError::Host(HostError::NotPublic)),
    ];
    for (text, error) in table {
        assert_eq!(EndpointTemplate::parse(text, PUBLIC), Err(error), "{text}");
    }
    let long = format!("https://a.example/{}", "a".repeat(2031));
    assert_eq!(EndpointTemplate::parse(&long, PUBLIC), Err(EndpointError::TooLong));
}

#[test]
fn e01_development_may_use_http_and_private_hosts() {
    for text in ["http://127.0.0.1:9000/token", "http://localhost/token", "https://10.0.0.1/"] {
        assert!(EndpointTemplate::parse(text, EgressPolicy::AllowPrivate).is_ok(), "{text}");
    }
    assert!(EndpointTemplate::parse("ftp://127.0.0.1/", EgressPolicy::AllowPrivate).is_err());
}

#[test]
fn e09_placeholders_stand_in_host_path_and_query_values_only() {
    for text in [
        "https://a.example:{port}/",
        "https://[::{x}]/",
        "ht{x}s://a.example/",
        "https://a.example/?{x}=1",
        "https://a.example/?a=1&{x}",
        "https://a.example/#/p?{x}=1",
        "{base}.evil.example/t",
        "{base}{path}",
    ] {
        assert!(
            matches!(
                EndpointTemplate::parse_authorization(text, PUBLIC),
                Err(EndpointError::MisplacedPlaceholder | EndpointError::NotHttps)
            ),
            "{text}"
        );
    }
    for text in
        ["https://a.example/{", "https://a.example/}", "https://a.example/{a b}", "https://a.example/{1}"]
    {
        let error = EndpointTemplate::parse(text, PUBLIC).unwrap_err();
        assert!(matches!(error, EndpointError::Brace | EndpointError::Character), "{text}");
    }
}

#[test]
fn e09_a_value_in_a_host_is_labels_and_nothing_else() {
    let template = "https://{shop}.example.com/token";
    assert_eq!(resolve(template, &[("shop", "my-shop")]).unwrap(), "https://my-shop.example.com/token");
    assert_eq!(resolve(template, &[("shop", "eu.shop")]).unwrap(), "https://eu.shop.example.com/token");
    for value in [
        "",
        ".",
        "..",
        "a.",
        ".a",
        "a..b",
        "-a",
        "a-",
        "evil.com/",
        "evil.com#",
        "evil.com?",
        "a.evil.com?",
        "a@evil.com",
        "a@",
        "a:b",
        "a%2f",
        "a%00",
        "evil.com\\",
        "a\r\nHost: evil",
        "a b",
        "а",
        "ａ",
        "a。b",
        "EU",
        "[::1]",
    ] {
        assert_eq!(
            resolve(template, &[("shop", value)]),
            Err(EndpointError::UnfitValue("shop".to_owned())),
            "{value:?}"
        );
    }
    assert_eq!(resolve(template, &[]), Err(EndpointError::MissingValue("shop".to_owned())));
    assert!(resolve(template, &[("shop", &"a".repeat(63))]).is_ok());
    assert!(resolve(template, &[("shop", &"a".repeat(64))]).is_err());
}

#[test]
fn e09_the_finished_host_is_checked_again() {
    let private = Err(EndpointError::Host(HostError::NotPublic));
    assert_eq!(resolve("https://{host}/t", &[("host", "127.0.0.1")]), private);
    assert_eq!(resolve("https://{host}/t", &[("host", "localhost")]), private);
    assert_eq!(resolve("https://10.0.0.{n}/t", &[("n", "7")]), private);
    assert_eq!(resolve("https://{host}/t", &[("host", "0x7f.1")]), Err(EndpointError::NotAUrl));
    assert_eq!(resolve("https://{host}/t", &[("host", "2130706433")]), Err(EndpointError::NotAUrl));
    assert_eq!(resolve("https://{host}/t", &[("host", "8.8.8.8")]).unwrap(), "https://8.8.8.8/t");
}

#[test]
fn e09_a_value_in_path_or_query_is_percent_encoded() {
    let template = "https://a.example/{tenant}/token?audience={audience}";
    assert_eq!(
        resolve(template, &[("tenant", "a/b?c#d%2f"), ("audience", "https://x/?a=1&b=ä")]).unwrap(),
        "https://a.example/a%2Fb%3Fc%23d%252f/token?audience=https%3A%2F%2Fx%2F%3Fa%3D1%26b%3D%C3%A4"
    );
    for dots in [".", ".."] {
        assert_eq!(resolve(template, &[("tenant", dots), ("audience", "x")]), Err(EndpointError::DotSegment));
    }
    assert_eq!(resolve("https://a.example/{a}{a}/x", &[("a", ".")]), Err(EndpointError::DotSegment));
    assert_eq!(
        resolve(template, &[("tenant", "a\r\nb"), ("audience", "x")]),
        Err(EndpointError::UnfitValue("tenant".to_owned()))
    );
    let huge = resolve("https://a.example/{a}", &[("a", &"/".repeat(1000))]);
    assert_eq!(huge, Err(EndpointError::TooLong));
}

#[test]
fn b11_a_placeholder_may_bring_the_whole_url() {
    let template = "{accounts-server}/oauth/v2/token";
    let with = |value: &str| resolve(template, &[("accounts-server", value)]);
    assert_eq!(with("https://accounts.zoho.eu").unwrap(), "https://accounts.zoho.eu/oauth/v2/token");
    assert_eq!(with("https://accounts.zoho.eu/").unwrap(), "https://accounts.zoho.eu/oauth/v2/token");
    assert_eq!(with("https://a.example/base").unwrap(), "https://a.example/base/oauth/v2/token");
    assert_eq!(resolve("{url}", &[("url", "https://a.example/t/")]).unwrap(), "https://a.example/t/");
    for value in [
        "",
        "a.example",
        "http://a.example",
        "https://127.0.0.1",
        "https://0x7f.1",
        "https://u@a.example",
        "https://a.example?x=",
        "https://a.example#",
        "https://a.example\\",
        "https://а.example",
        "https://a.example/..",
        "https://a.example\t",
        "https://localhost",
        "https://",
        "https:///a.example",
        "javascript:alert(1)",
        "https://a%2eexample",
        "https://{x}.example",
    ] {
        assert!(with(value).is_err(), "{value:?}");
    }
}

#[test]
fn the_members_of_a_query_are_known_by_decoded_name() {
    let template =
        EndpointTemplate::parse_authorization("https://a.example/?a=1&st%61te#/p?b=2", PUBLIC).unwrap();
    assert_eq!(
        template.query_pairs(),
        [("a", "1"), ("state", ""), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
}

#[test]
fn a_host_that_ends_in_a_registered_domain_is_closed() {
    let open = |text: &str| {
        EndpointTemplate::parse(text, PUBLIC)
            .unwrap()
            .open_host_placeholders()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(open("https://{a}.example.com/{b}").is_empty());
    assert!(open("https://a.example.com/{b}").is_empty());
    assert_eq!(open("https://{a}/{b}"), ["a"]);
    assert_eq!(open("https://{a}.com/"), ["a"]);
    assert_eq!(open("https://{a}bank.example.com/"), ["a"]);
    assert_eq!(open("https://api.{a}:8443/"), ["a"]);
}

#[test]
fn b03_an_origin_keeps_the_placeholders_without_value() {
    let origin = |text: &str, pairs: &[(&str, &str)]| {
        EndpointTemplate::parse(text, PUBLIC).unwrap().origin(&values(pairs))
    };
    assert_eq!(origin("HTTPS://Auth.Example:443/{a}?b=c", &[]), "https://auth.example");
    assert_eq!(origin("https://{Dc}.Example:8443/x", &[]), "https://{Dc}.example:8443");
    assert_eq!(origin("https://{Dc}.Example:8443/x", &[("Dc", "eu")]), "https://eu.example:8443");
    assert_eq!(origin("{base}/x", &[]), "{base}");
    assert_eq!(origin("{base}/x", &[("base", "https://a.example:443/y")]), "https://a.example");
}

proptest! {
    #[test]
    fn e09_no_value_moves_a_url_to_another_host(value in "[ -~\\PC]{0,40}") {
        if let Ok(url) = resolve("https://{x}.example.com/t", &[("x", &value)]) {
            let url = Url::parse(&url).unwrap();
            prop_assert!(url.host_str().unwrap().ends_with(".example.com"));
            prop_assert_eq!(url.path(), "/t");
        }
        if let Ok(url) = resolve("https://a.example/{x}/t?q={x}", &[("x", &value)]) {
            let url = Url::parse(&url).unwrap();
            prop_assert_eq!(url.host_str(), Some("a.example"));
            prop_assert_eq!(url.path_segments().unwrap().count(), 2);
            let pairs: Vec<_> = url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(pairs, vec![("q".to_owned(), value.clone())]);
            prop_assert!(url.fragment().is_none());
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "(https://)?[a-z{}./?#@:%\\[\\]]{0,40}") {
        if let Ok(template) = EndpointTemplate::parse_authorization(&text, PUBLIC) {
            prop_assert_eq!(template.as_str(), text);
        }
    }
}
