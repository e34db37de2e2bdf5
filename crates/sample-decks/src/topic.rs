use serde::Serialize;

/// What a slide is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Topic {
    Title,
    Problem,
    Solution,
    Product,
    Market,
    Traction,
    BusinessModel,
    Competition,
    Team,
    Financials,
    Ask,
}

impl Topic {
    /// The order in which decks tell their story.
    pub const ALL: [Self; 11] = [
        Self::Title,
        Self::Problem,
        Self::Solution,
        Self::Product,
        Self::Market,
        Self::Traction,
        Self::BusinessModel,
        Self::Competition,
        Self::Team,
        Self::Financials,
        Self::Ask,
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Title => "Title",
            Self::Problem => "Problem",
            Self::Solution => "Solution",
            Self::Product => "Product",
            Self::Market => "Market",
            Self::Traction => "Traction",
            Self::BusinessModel => "Business model",
            Self::Competition => "Competition",
            Self::Team => "Team",
            Self::Financials => "Financials",
            Self::Ask => "Ask",
        }
    }

    /// How likely the slide shows a chart or a table.
    pub(crate) fn chart_probability(self) -> f64 {
        match self {
            Self::Title | Self::Team => 0.0,
            Self::Problem | Self::Solution | Self::Product => 0.3,
            Self::Market | Self::Traction | Self::Financials => 0.95,
            Self::BusinessModel | Self::Ask => 0.65,
            Self::Competition => 0.8,
        }
    }
}
