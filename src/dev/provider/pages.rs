//! The provider's two pages. They load nothing, run no script, and look unlike cloudlink's own on purpose.

use askama::Template;

/// Asks whether the plugin may.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Allow access – {{ name }}</title>
<style>{{ STYLE|safe }}</style>
</head>
<body>
<main>
<p class="brand"><span aria-hidden="true">◉</span> {{ name }}</p>
<h1>Let “Demo thermostat plugin” use your thermostats?</h1>
<p class="account">Signed in as <strong>demo@acme.example</strong></p>
<p>It asks for:</p>
<ul>
{% for permission in scope.split_whitespace() %}<li><code>{{ permission }}</code></li>
{% endfor %}</ul>
<form method="post" action="/decision">
<input type="hidden" name="request" value="{{ request }}">
<button class="allow" name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>
<p class="small">This provider runs on your own machine, for cloudlink’s demo only. There is no account and no
thermostat behind it.</p>
</main>
</body>
</html>
"#
)]
pub(super) struct Consent<'a> {
    pub(super) name: &'a str,
    pub(super) scope: &'a str,
    pub(super) request: &'a str,
}

/// Says that it can't go on, and where to begin again.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Begin again – {{ name }}</title>
<style>{{ STYLE|safe }}</style>
</head>
<body>
<main>
<p class="brand"><span aria-hidden="true">◉</span> {{ name }}</p>
<h1>Please begin again</h1>
<p>{{ reason }}</p>
<p>Open the link that <code>cloudlink dev</code> shows in its terminal.</p>
</main>
</body>
</html>
"#
)]
pub(super) struct Problem<'a> {
    pub(super) name: &'a str,
    pub(super) reason: &'a str,
}

/// Both pages' look, in light and dark.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#14261f;--paper:#fff;--ground:#e6f1ec;--accent:#0b6b4f;--line:#b9cfc5}\
@media (prefers-color-scheme:dark){:root{--ink:#e4efe9;--paper:#16221d;--ground:#0c1411;--accent:#5fcca6;--line:#34493f}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--ground);color:var(--ink);\
font:1rem/1.5 Georgia,serif;padding:1rem}\
main{max-width:26rem;background:var(--paper);border:1px solid var(--line);border-radius:.25rem;padding:1.75rem}\
h1{font-size:1.35rem;line-height:1.25;margin:.5rem 0}\
.brand{color:var(--accent);font-weight:bold;margin:0}\
.account,.small{font-size:.9rem}\
.small{border-top:1px solid var(--line);padding-top:.75rem;margin-bottom:0}\
form{display:flex;gap:.75rem;margin:1.25rem 0}\
button{flex:1;min-height:2.75rem;font:inherit;border-radius:.25rem;border:1px solid var(--accent);background:none;\
color:var(--accent);cursor:pointer}\
.allow{background:var(--accent);color:var(--paper);font-weight:bold}\
button:focus-visible{outline:3px solid var(--ink);outline-offset:2px}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_brings_is_text_and_nothing_else() {
        let page = Consent { name: "Acme", scope: "a <script>", request: "\"x" }.render().unwrap();
        assert!(!page.contains("<script>") && !page.contains("\"\"x"), "{page}");
        assert!(page.contains(">Allow</button>") && page.contains(">Deny</button>"));
    }

    #[test]
    fn the_pages_load_nothing_from_elsewhere() {
        let consent = Consent { name: "Acme", scope: "a", request: "x" }.render().unwrap();
        let problem = Problem { name: "Acme", reason: "Too late." }.render().unwrap();
        for page in [consent, problem] {
            assert!(!page.contains("http") && !page.contains("<link") && !page.contains("src="), "{page}");
        }
    }
}
