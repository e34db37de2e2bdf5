use crate::Rng;
use crate::topic::Topic;

/// A word and whether it carries evidence (a figure, a name, a date).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) is_strong: bool,
}

/// What a company does: who buys, what hurts, what it sells.
#[derive(Debug, Clone)]
pub(crate) struct Company {
    pub(crate) name: String,
    pub(crate) customer: &'static str,
    pub(crate) pain: &'static str,
    pub(crate) product: &'static str,
}

const SECTORS: [[&str; 3]; 16] = [
    ["clinics", "missed appointments", "booking assistant"],
    ["bakeries", "unsold bread", "demand planner"],
    ["warehouses", "lost pallets", "tracking tag"],
    ["landlords", "heating bills", "radiator controller"],
    ["schools", "paper forms", "parent portal"],
    ["farmers", "dry fields", "soil probe"],
    ["law firms", "contract review", "clause checker"],
    ["shipyards", "rework", "weld scanner"],
    ["museums", "empty weekdays", "ticket exchange"],
    ["insurers", "slow claims", "photo adjuster"],
    ["cities", "full bins", "route planner"],
    ["gyms", "cancelled members", "coaching app"],
    ["labs", "idle instruments", "sharing platform"],
    ["cafes", "card fees", "payment terminal"],
    ["builders", "late materials", "order desk"],
    ["hotels", "food waste", "kitchen scale"],
];
const NAME_HEADS: [&str; 20] = [
    "Nor", "Vel", "Tri", "Lum", "Kel", "Ax", "Ori", "Bri", "Sol", "Mar", "Fen", "Cal", "Ter", "Zep", "Hal",
    "Qui", "Ro", "Pla", "Ume", "Dov",
];
const NAME_TAILS: [&str; 16] = [
    "ona", "ity", "ex", "ara", "io", "wise", "flow", "lio", "dock", "mint", "path", "een", "usa", "ivo",
    "grid", "line",
];
const VAGUE: [&str; 24] = [
    "leverage synergies across the ecosystem",
    "a revolutionary paradigm for everyone",
    "empower stakeholders with innovation",
    "unlock the power of the future",
    "best in class solutions at scale",
    "a disruptive platform that changes everything",
    "passionate about delivering excellence",
    "seamless experiences for modern people",
    "next generation technology made simple",
    "we think outside the box every day",
    "driving transformation with great impact",
    "a huge opportunity in a growing space",
    "our vision is to make the world better",
    "cutting edge and highly scalable",
    "customer centric from the very beginning",
    "holistic value for all our partners",
    "world class people with a winning mindset",
    "the ultimate one stop shop",
    "smart thinking meets bold execution",
    "reimagining how things are done",
    "unique approach with many benefits",
    "strong momentum and endless potential",
    "game changing ideas for tomorrow",
    "quality and trust in all we do",
];
const CITIES: [&str; 10] =
    ["Lyon", "Leeds", "Austin", "Porto", "Graz", "Turku", "Ghent", "Osaka", "Bergen", "Split"];
const SOURCES: [&str; 8] = [
    "Eurostat 2025, table B4",
    "company ledger, audited",
    "survey of 212 customers, May 2026",
    "OECD Outlook 2025, p. 41",
    "pilot data, 14 sites, 9 months",
    "national registry, Q2 2026",
    "interviews with 38 buyers",
    "industry census 2025",
];
/// Labels of categories in charts and tables.
pub(crate) const CATEGORIES: [&str; 14] = [
    "North",
    "South",
    "East",
    "West",
    "Retail",
    "Online",
    "Pilot",
    "Core",
    "Plus",
    "Enterprise",
    "Partner",
    "Direct",
    "Export",
    "Home",
];
const PILLS: [&str; 14] = [
    "Synergy",
    "Disruption",
    "Innovation",
    "Excellence",
    "Vision",
    "Passion",
    "Impact",
    "Agility",
    "Holistic",
    "Scalable",
    "Seamless",
    "Next level",
    "Game changer",
    "World class",
];

impl Company {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let [customer, pain, product] = SECTORS[rng.below(SECTORS.len())];
        let name = format!("{}{}", rng.pick(&NAME_HEADS), rng.pick(&NAME_TAILS));
        Self { name, customer, pain, product }
    }

    /// One sentence of evidence.
    fn specific(&self, rng: &mut Rng) -> String {
        let (percent, count, year) = (5 + rng.below(90), 12 + rng.below(900), 2021 + rng.below(6));
        let (customer, pain, product) = (self.customer, self.pain, self.product);
        match rng.below(8) {
            0 => format!("{percent}% of {customer} lose money on {pain}"),
            1 => format!("{count} {customer} in {} pay us since {year}", rng.pick(&CITIES)),
            2 => format!("the {product} cuts {pain} by {percent}%"),
            3 => format!("${}.{}M revenue in {year} at {percent}% margin", 1 + rng.below(9), rng.below(10)),
            4 => format!("churn fell from {}% to {}% in {year}", 9 + rng.below(9), 1 + rng.below(6)),
            5 => format!("{count} pilots in {} pay back in {} months", rng.pick(&CITIES), 3 + rng.below(15)),
            6 => format!("each of {count} {customer} saves ${}k a year", 2 + rng.below(80)),
            _ => format!("{percent}% of trials become contracts worth ${}k", 4 + rng.below(60)),
        }
    }

    /// One sentence; with probability `share` one of evidence, otherwise an empty phrase.
    pub(crate) fn sentence(&self, rng: &mut Rng, share: f64) -> Vec<Word> {
        let text = if rng.chance(share) { self.specific(rng) } else { rng.pick(&VAGUE).to_owned() };
        let mut words: Vec<Word> = text
            .split(' ')
            .map(|word| Word {
                text: word.to_owned(),
                is_strong: word.contains(|c: char| c.is_ascii_digit()),
            })
            .collect();
        if let Some(first) = words.first_mut() {
            let mut letters = first.text.chars();
            first.text = letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect());
        }
        words
    }

    /// A headline that states a message, or the bare topic.
    pub(crate) fn headline(
        &self,
        rng: &mut Rng,
        topic: Topic,
        is_message: bool,
        is_specific: bool,
    ) -> String {
        if topic == Topic::Title {
            return self.name.clone();
        }
        if !is_message {
            return topic.name().to_owned();
        }
        if !is_specific {
            return rng
                .pick(&["The future starts with us", "A new way of thinking", "Our journey to excellence"])
                .to_owned();
        }
        let percent = 10 + rng.below(80);
        let (customer, pain, product) = (self.customer, self.pain, self.product);
        match topic {
            Topic::Problem => format!("{percent}% of {customer} lose sleep over {pain}"),
            Topic::Solution | Topic::Product => format!("One {product} ends {pain}"),
            Topic::Market => format!("{customer} spend ${}.{}B a year", 1 + rng.below(8), rng.below(10)),
            Topic::Traction => format!("Revenue grew {}x in {} months", 2 + rng.below(5), 9 + rng.below(10)),
            Topic::BusinessModel => format!("{customer} pay ${} a month", 19 + rng.below(400)),
            Topic::Competition => format!("{percent}% cheaper than the next best"),
            Topic::Team => format!("{} years of building for {customer}", 11 + rng.below(40)),
            Topic::Financials => format!("Break-even in Q{} 2027", 1 + rng.below(4)),
            Topic::Ask => format!("${}M takes us to {} sites", 2 + rng.below(9), 40 + rng.below(400)),
            Topic::Title => self.name.clone(),
        }
    }

    /// A short heading of one block of text.
    pub(crate) fn heading(rng: &mut Rng) -> String {
        rng.pick(&["Why now", "How", "Benefits", "Our edge", "Next steps", "Key facts", "Values", "Reach"])
            .to_owned()
    }

    /// Different figures, each with what it counts.
    pub(crate) fn figures(rng: &mut Rng, count: usize) -> Vec<(String, &'static str)> {
        let mut all = [
            (format!("{}%", 11 + rng.below(88)), "gross margin"),
            (format!("${}.{}M", 1 + rng.below(9), rng.below(10)), "yearly revenue"),
            (format!("{}", 14 + rng.below(900)), "paying customers"),
            (format!("{}x", 2 + rng.below(8)), "growth in a year"),
            (format!("{}%", 1 + rng.below(9)), "monthly churn"),
            (format!("{} mo", 4 + rng.below(14)), "payback time"),
        ];
        rng.shuffle(&mut all);
        all.into_iter().take(count).collect()
    }

    /// Where the figures come from.
    pub(crate) fn source(rng: &mut Rng) -> String {
        format!("Source: {}; {}", rng.pick(&SOURCES), rng.pick(&SOURCES))
    }
}

/// Buzzwords for tags, without repetition.
pub(crate) fn buzzwords(rng: &mut Rng, count: usize) -> Vec<&'static str> {
    let mut words = PILLS;
    rng.shuffle(&mut words);
    words[..count.min(PILLS.len())].to_vec()
}
