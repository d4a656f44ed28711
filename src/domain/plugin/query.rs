//! Extending the query of a URL that may already have one.

use url::{Url, form_urlencoded};

/// Adds `pairs` to the query that `url` already has, form-encoded once. Where `url` has a fragment, as an
/// `auth_endpoint` may, they go behind it: that is where an application that routes by it looks.
pub fn append_query<'a>(url: &mut Url, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let Some(fragment) = url.fragment().map(str::to_owned) else {
        url.query_pairs_mut().extend_pairs(pairs);
        return;
    };
    let added = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let joint = match fragment.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    url.set_fragment(Some(&format!("{fragment}{joint}{added}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_already_there_is_kept_and_extended() {
        let appended = |text: &str| {
            let mut url = Url::parse(text).unwrap();
            append_query(&mut url, [("scope", "a b:c"), ("state", "x&y")]);
            String::from(url)
        };
        let added = "scope=a+b%3Ac&state=x%26y";
        assert_eq!(appended("https://a.example/auth"), format!("https://a.example/auth?{added}"));
        assert_eq!(
            appended("https://a.example/auth?k=v%20w"),
            format!("https://a.example/auth?k=v%20w&{added}")
        );
        assert_eq!(appended("https://a.example/#/auth"), format!("https://a.example/#/auth?{added}"));
        assert_eq!(
            appended("https://a.example/?q=1#/auth?k=v"),
            format!("https://a.example/?q=1#/auth?k=v&{added}")
        );
    }
}
