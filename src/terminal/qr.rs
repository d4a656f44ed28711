//! QR codes of half blocks: two rows of the code to a line of the terminal.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

/// A code that a phone reads, several lines; none where the text is too long for one.
///
/// Light on dark, as most terminals are; phones read the reverse as well.
pub fn qr_code(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_square_with_a_margin() {
        let code = qr_code("https://link.example/login?user_code=BCDF-GHJK").unwrap();
        let lines: Vec<_> = code.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{code}");
        assert!(lines.len() == width.div_ceil(2) && width < 80, "{code}");
    }

    #[test]
    fn what_is_too_long_for_a_code_has_none() {
        assert_eq!(qr_code(&"x".repeat(5000)), None);
    }
}
