//! The address to send coins to, as a telephone's camera reads it from the console.

use chain::Address;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// The lines of a QR code (ISO/IEC 18004) of the address, light on dark as consoles are; none for
/// what does not fit into one, which no address is.
pub(crate) fn code(address: &Address) -> Vec<String> {
    let Ok(code) = QrCode::with_error_correction_level(address.to_string(), EcLevel::L) else {
        return Vec::new();
    };
    let image = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    image.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_fits_on_a_console() {
        let key = chain::NodeKey::generate().unwrap();
        let lines = code(&key.address());
        // 33 modules and a quiet zone of 4 on each side, two rows a line
        assert_eq!(lines.len(), 21);
        for line in &lines {
            assert_eq!(line.chars().count(), 41);
            assert!(line.chars().all(|module| " ▀▄█".contains(module)), "{line}");
        }
    }
}
