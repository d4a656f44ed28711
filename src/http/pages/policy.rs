//! The Content-Security-Policy of the pages.
//!
//! Everything is refused but the stylesheet, the icon and, page by page, forms. The page before consent
//! has no `form-action` at all: Chromium checks that directive not only where a form posts to but at each
//! redirect that follows, until a page is shown. `'self'` alone blocks the 303 to the provider; `'self'`
//! and the provider's origin pass that, and then block the provider's own redirect to its sign-in host,
//! or, where consent was given before, the way on to a `return_url`. No list made here can know those
//! hosts. What is given up is small: there is no script, `base-uri` is closed, and all that comes from
//! outside is escaped, so nobody can put a form onto that page.

/// Where the forms of a page may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forms {
    /// The page has no form.
    Nowhere,
    /// To cloudlink, and no redirect from there leads away.
    Here,
    /// To cloudlink, which redirects to the provider.
    Onward,
}

macro_rules! policy {
    ($forms:literal) => {
        concat!(
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'",
            $forms
        )
    };
}

/// The value of `Content-Security-Policy` for a page with such forms.
pub fn content_security_policy(forms: Forms) -> &'static str {
    match forms {
        Forms::Nowhere => policy!("; form-action 'none'"),
        Forms::Here => policy!("; form-action 'self'"),
        Forms::Onward => policy!(""),
    }
}

/// The policy of a page of the console: its forms lead to the console, or to a redirect to the public `origin`.
pub fn policy_with_forms_to(origin: &str) -> String {
    // A policy can't name an IPv6 address (CSP 3 §2.3.1): there the directive is left out.
    if origin.contains('[') {
        return content_security_policy(Forms::Onward).to_owned();
    }
    format!("{} {origin}", content_security_policy(Forms::Here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d06_every_policy_starts_from_nothing_and_forbids_frames() {
        for forms in [Forms::Nowhere, Forms::Here, Forms::Onward] {
            let policy = content_security_policy(forms);
            assert!(policy.starts_with("default-src 'none';"), "{policy}");
            assert!(
                policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
        }
    }

    #[test]
    fn the_console_may_send_a_browser_to_the_public_pages_and_nowhere_else() {
        let policy = policy_with_forms_to("https://link.example");
        assert!(policy.ends_with("; form-action 'self' https://link.example"), "{policy}");
        assert!(!policy_with_forms_to("http://[::1]:8080").contains("form-action"));
    }

    #[test]
    fn only_the_page_before_consent_lets_a_form_lead_away() {
        assert!(content_security_policy(Forms::Nowhere).contains("form-action 'none'"));
        assert!(content_security_policy(Forms::Here).contains("form-action 'self'"));
        assert!(!content_security_policy(Forms::Onward).contains("form-action"));
    }
}
