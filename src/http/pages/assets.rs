//! The two files that the pages load, named by their content so that a browser may keep them for ever.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// One file, embedded in the binary.
#[derive(Debug)]
pub struct Asset {
    /// Its absolute path: `/assets/cloudlink-<hash>.<ending>`. Other bytes have another path.
    pub path: String,
    /// For `Content-Type`.
    pub content_type: &'static str,
    /// What it holds.
    pub body: &'static str,
}

/// For `Cache-Control`: a year, which is what "for ever" is written as.
pub const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

static STYLESHEET: LazyLock<Asset> =
    LazyLock::new(|| asset("css", "text/css; charset=utf-8", include_str!("../templates/cloudlink.css")));
static ICON: LazyLock<Asset> =
    LazyLock::new(|| asset("svg", "image/svg+xml", include_str!("../templates/cloudlink.svg")));

/// The one stylesheet.
pub fn stylesheet() -> &'static Asset {
    &STYLESHEET
}

/// The icon of the browser's tab.
pub fn icon() -> &'static Asset {
    &ICON
}

/// The asset of that path.
pub fn find(path: &str) -> Option<&'static Asset> {
    [stylesheet(), icon()].into_iter().find(|asset| asset.path == path)
}

fn asset(ending: &str, content_type: &'static str, body: &'static str) -> Asset {
    let hash = digest(&SHA256, body.as_bytes());
    let name = URL_SAFE_NO_PAD.encode(hash.as_ref().first_chunk::<9>().unwrap_or(&[0; 9]));
    Asset { path: format!("/assets/cloudlink-{name}.{ending}"), content_type, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_found_by_its_whole_path_only() {
        assert_eq!(find(&stylesheet().path).unwrap().body, stylesheet().body);
        assert_eq!(find(&icon().path).unwrap().content_type, "image/svg+xml");
        assert!(find("/assets/cloudlink.css").is_none());
    }

    #[test]
    fn other_bytes_have_another_path() {
        assert_ne!(asset("css", "text/css", "a{}").path, asset("css", "text/css", "b{}").path);
    }

    #[test]
    fn d04_the_assets_load_nothing_themselves() {
        for asset in [stylesheet(), icon()] {
            let body = asset.body.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !body.contains("url(") && !body.contains("@import") && !body.contains("://"),
                "{}",
                asset.path
            );
        }
    }
}
