use crate::Rng;

/// A colour with eight bits a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color(pub u8, pub u8, pub u8);

impl Color {
    /// White.
    pub const WHITE: Self = Self(255, 255, 255);
    /// Nearly black.
    pub const INK: Self = Self(18, 20, 26);

    /// From hue in degrees, saturation and lightness in 0..1.
    pub fn hsl(hue: f64, saturation: f64, lightness: f64) -> Self {
        let chroma = (1.0 - (2.0 * lightness - 1.0).abs()) * saturation;
        let channel = |n: f64| {
            let k = (n + hue.rem_euclid(360.0) / 30.0).rem_euclid(12.0);
            let value = lightness - chroma / 2.0 * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
            (value * 255.0).round().clamp(0.0, 255.0) as u8
        };
        Self(channel(0.0), channel(8.0), channel(4.0))
    }

    /// The colour that lies `share` of the way to `other`.
    pub fn mix(self, other: Self, share: f64) -> Self {
        let blend = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
        Self(blend(self.0, other.0), blend(self.1, other.1), blend(self.2, other.2))
    }

    /// Relative luminance in 0..1 (WCAG 2).
    pub fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2)
    }

    /// Contrast ratio with `other`, 1 to 21 (WCAG 2).
    pub fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// This colour faded into `background` until their contrast is `target`, or itself if it has no more than that.
    pub fn faded(self, background: Self, target: f64) -> Self {
        if self.contrast(background) <= target {
            return self;
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..12 {
            let middle = f64::midpoint(low, high);
            if self.mix(background, middle).contrast(background) > target {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.mix(background, low)
    }

    /// Black or white, whichever stands out more on this colour.
    pub fn on(self) -> Self {
        if self.contrast(Self::WHITE) > self.contrast(Self::INK) { Self::WHITE } else { Self::INK }
    }

    /// A loud colour that belongs to no theme.
    pub fn loud(rng: &mut Rng) -> Self {
        Self::hsl(rng.range(0.0, 360.0), rng.range(0.85, 1.0), rng.range(0.42, 0.6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        assert!((Color::WHITE.contrast(Color(0, 0, 0)) - 21.0).abs() < 1e-9);
        assert!((Color(119, 119, 119).contrast(Color::WHITE) - 4.48).abs() < 0.01); // the well-known #777 on white
    }

    #[test]
    fn fading_reaches_its_contrast() {
        for target in [1.6, 3.0, 7.0] {
            let faded = Color::INK.faded(Color(250, 250, 240), target);
            assert!((faded.contrast(Color(250, 250, 240)) - target).abs() < 0.25, "{faded:?}");
        }
    }

    #[test]
    fn hues_are_where_they_should_be() {
        assert_eq!(Color::hsl(0.0, 1.0, 0.5), Color(255, 0, 0));
        assert_eq!(Color::hsl(120.0, 1.0, 0.5), Color(0, 255, 0));
        assert_eq!(Color::hsl(240.0, 1.0, 0.25), Color(0, 0, 128));
    }
}
