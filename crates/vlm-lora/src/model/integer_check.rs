//! Whether products in integers are near enough to exact ones: image features are computed both ways, once.

use super::Model;
use super::block::Save;
use super::params::Pass;
use super::vision::Vision;
use crate::Result;
use crate::backend::Backend;
use crate::sample::Tiles;

/// Images that are looked at.
const IMAGES: usize = 2;

/// Features of the first images by products in integers, compared with those by the same matrices and activations as they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntegerCheck {
    /// The norm of the difference over the norm of the exact features.
    pub deviation: f64,
    /// The largest deviation with which integers are kept.
    pub bound: f64,
    /// Whether they are; where not, activations stay as they are from then on.
    pub is_kept: bool,
}

impl<B: Backend> Model<B> {
    /// Compares products in integers with exact ones on the first of these images, where the backend takes such products and has
    /// not been checked yet, and leaves them where they deviate by more than the backend's bound. Computing features does so by
    /// itself.
    ///
    /// # Errors
    /// As [`image_features`](Self::image_features).
    pub fn check_integers(&self, images: &[&Tiles]) -> Result<Option<IntegerCheck>> {
        self.network.vision.check_integers(self.pass(), images)?;
        Ok(self.integer_check())
    }

    /// What [`check_integers`](Self::check_integers) found, once it was made.
    pub fn integer_check(&self) -> Option<IntegerCheck> {
        self.network.vision.integer_check.get().copied()
    }
}

impl<B: Backend> Vision<B> {
    /// As [`Model::check_integers`].
    pub(super) fn check_integers(&self, pass: Pass<'_, B>, images: &[&Tiles]) -> Result<()> {
        let (Some(bound), None) = (pass.backend.integer_bound(), self.integer_check.get()) else {
            return Ok(());
        };
        let images: Vec<&Tiles> =
            images.iter().copied().filter(|tiles| tiles.count() > 0).take(IMAGES).collect();
        if images.is_empty() {
            return Ok(());
        }
        pass.backend.set_integers(true);
        let ours = self.last_tiles(pass, &images)?;
        pass.backend.set_integers(false);
        let exact = self.last_tiles(pass, &images);
        pass.backend.set_integers(true);
        let deviation = deviation(&ours, &exact?);
        let is_kept = deviation <= bound;
        pass.backend.set_integers(is_kept);
        self.integer_check.get_or_init(|| IntegerCheck { deviation, bound, is_kept });
        Ok(())
    }

    /// Features of the last tile of each image: where an image is cut up, that is the whole of it.
    fn last_tiles(&self, pass: Pass<'_, B>, images: &[&Tiles]) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for tiles in images {
            let (rows, _) = self.forward_tiles(pass, &[(*tiles, tiles.count() - 1)], Save::Nothing)?;
            values.extend(pass.backend.download(&rows)?);
        }
        Ok(values)
    }
}

/// `‖ours − exact‖ / ‖exact‖`.
fn deviation(ours: &[f32], exact: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference =
        squares(&mut ours.iter().zip(exact).map(|(ours, exact)| f64::from(*ours) - f64::from(*exact)));
    let norm = squares(&mut exact.iter().map(|exact| f64::from(*exact)));
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}
