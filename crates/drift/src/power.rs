use serde::{Deserialize, Serialize};

use crate::DriftConfig;
use crate::chance::normal_cdf;
use crate::decks::{Side, Significance, variances_of_means};
use crate::features::{Column, FeatureGroup, Table};

/// What a change would have had to be to be seen, of one group of features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupPower {
    /// Which features.
    pub group: FeatureGroup,
    /// The least chance, over its features, that the change that must not go unseen would have been flagged; absent where none of them could be
    /// compared.
    pub power: Option<f64>,
    /// The feature with that chance.
    pub weakest: Option<String>,
    /// So many more recent decks would make the chance large enough; absent where it is, or where no number would.
    pub more_decks: Option<usize>,
    /// So many more recent slides: those decks, as large as the recent ones are on average.
    pub more_slides: Option<usize>,
}

/// What a column's decks say of the power to see a change in it.
struct Precision {
    /// The change that must not go unseen, in the feature's unit.
    shift: f64,
    /// The variance of the reference's mean.
    reference: f64,
    /// The variance between recent decks.
    recent: f64,
    recent_decks: f64,
}

impl Precision {
    fn of(column: &Column, table: &Table, config: &DriftConfig, threshold: f64) -> Self {
        let mut means = vec![0.0; column.has.len()];
        for cell in &column.cells {
            means[cell.deck] += cell.weight * cell.value;
        }
        let side = |decks: std::ops::Range<usize>| {
            let own = decks.filter(|deck| column.has[*deck]).map(|deck| means[deck]);
            own.fold(Side { size: 0.0, sum: 0.0, squares: 0.0 }, |side, mean| Side {
                size: side.size + 1.0,
                sum: side.sum + mean,
                squares: side.squares + mean * mean,
            })
        };
        let reference = side(0..table.reference_decks);
        let recent = side(table.reference_decks..table.decks.len());
        let deviation = column.sides(table.reference_decks)[0].deviation().unwrap_or(0.0);
        let [reference, of_recent] = variances_of_means(&reference, &recent);
        let shift =
            if column.group == FeatureGroup::Presence { threshold } else { config.power_shift * deviation };
        Self { shift, reference, recent: of_recent * recent.size, recent_decks: recent.size }
    }

    /// The chance that the change is flagged with so many recent decks more.
    fn power(&self, more_decks: f64, critical: f64) -> f64 {
        let error = (self.reference + self.recent / (self.recent_decks + more_decks)).sqrt();
        if error > 0.0 { normal_cdf(self.shift / error - critical) } else { 1.0 }
    }

    /// How many decks more make the chance large enough, if any number does.
    fn more_decks(&self, critical: f64, least: f64) -> Option<usize> {
        const MOST: usize = 1 << 20;
        let is_enough = |more: usize| self.power(more as f64, critical) >= least;
        let mut high = 1;
        while !is_enough(high) {
            high *= 2;
            if high > MOST {
                return None;
            }
        }
        let mut low = high / 2;
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if is_enough(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }
}

/// For each column the chance that the change that must not go unseen would have been flagged, from how far its decks differ: of the
/// test's statistic under that change, which is about normal with one as its deviation.
pub(crate) fn powers(table: &Table, found: &Significance, config: &DriftConfig, threshold: f64) -> Vec<f64> {
    let power = |column| Precision::of(column, table, config, threshold).power(0.0, found.critical);
    table.columns.iter().map(power).collect()
}

/// The power of each group, and what it lacks.
pub(crate) fn groups(
    table: &Table,
    found: &Significance,
    config: &DriftConfig,
    threshold: f64,
    slides_per_deck: f64,
) -> Vec<GroupPower> {
    let of = |group: FeatureGroup| {
        let own = table.columns.iter().filter(|column| column.group == group);
        let each = own.map(|column| (column, Precision::of(column, table, config, threshold)));
        let chances =
            each.map(|(column, precision)| (precision.power(0.0, found.critical), column, precision));
        let Some((power, column, precision)) = chances.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return GroupPower { group, power: None, weakest: None, more_decks: None, more_slides: None };
        };
        let lacks = power < config.min_power;
        let more_decks = lacks.then(|| precision.more_decks(found.critical, config.min_power)).flatten();
        GroupPower {
            group,
            power: Some(power),
            weakest: Some(column.name.clone()),
            more_decks,
            more_slides: more_decks.map(|decks| (decks as f64 * slides_per_deck).ceil() as usize),
        }
    };
    [FeatureGroup::Image, FeatureGroup::Model, FeatureGroup::Presence].map(of).to_vec()
}
