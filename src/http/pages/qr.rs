//! The QR code of a link: the page that a typed code opens shows it, to go on with a phone.

use qrcode::{EcLevel, QrCode, render::svg};

/// The address does not fit into a QR code (over 2 kB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address is too long for a QR code")]
pub struct TooLong;

/// The QR code of a link, as one SVG element of a page: dark on white whatever the page's colours, because many
/// readers need that, and with its quiet zone. It has no script and no style, and shows nothing of the link as
/// text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationQr(String);

impl VerificationQr {
    /// The code of `url`.
    pub fn of(url: &str) -> Result<Self, TooLong> {
        draw(url).map(Self)
    }

    /// The element.
    pub fn svg(&self) -> &str {
        &self.0
    }
}

fn draw(url: &str) -> Result<String, TooLong> {
    let code = QrCode::with_error_correction_level(url, EcLevel::M).map_err(|_| TooLong)?;
    let drawn = code
        .render::<svg::Color<'_>>()
        .min_dimensions(240, 240)
        .dark_color(svg::Color("#10202b"))
        .light_color(svg::Color("#ffffff"))
        .build();
    let element = drawn.find("<svg").and_then(|start| drawn.get(start..)).ok_or(TooLong)?;
    Ok(element.replacen("<svg ", "<svg role=\"img\" aria-label=\"QR code of the link\" ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verification_address_becomes_one_inert_svg_element() {
        let qr = VerificationQr::of("https://link.example.com/link?user_code=BCDF-GHJK").unwrap();
        let svg = qr.svg();
        assert!(svg.starts_with("<svg role=\"img\"") && svg.ends_with("</svg>"), "{svg}");
        assert!(!svg.contains("style=") && !svg.contains("<script") && !svg.contains("BCDF"), "{svg}");
    }

    #[test]
    fn an_address_longer_than_a_qr_code_holds_is_refused() {
        assert_eq!(VerificationQr::of(&"x".repeat(4000)), Err(TooLong));
    }
}
