use crate::look::Look;
use crate::quality::Habit;
use crate::scene::Scene;
use crate::slide::Painter;
use crate::theme::Theme;
use crate::topic::Topic;
use crate::words::Company;
use crate::{Quality, Rng};

/// One drawn slide.
#[derive(Debug, Clone, PartialEq)]
pub struct Slide {
    /// What it is about.
    pub topic: Topic,
    /// How good it is.
    pub quality: Quality,
    /// What can be seen of that.
    pub look: Look,
    /// The form of its chart, or `table`.
    pub form: Option<&'static str>,
    /// The page.
    pub scene: Scene,
}

/// A drawn deck.
#[derive(Debug, Clone, PartialEq)]
pub struct Deck {
    /// The company that pitches.
    pub company: String,
    /// The slides in order.
    pub slides: Vec<Slide>,
}

impl Deck {
    /// Draws deck `index` of the decks that belong to `seed`.
    pub fn draw(seed: u64, index: usize) -> Self {
        Self::worked_on(seed, index, |_, _| None)
    }

    /// The same deck after its author worked on it: a slide to which `work` gives a quality, by its place from 0 and the quality that it
    /// had, is drawn anew with that quality, in other words and with other figures.
    pub fn worked_on(seed: u64, index: usize, work: impl Fn(usize, &Quality) -> Option<Quality>) -> Self {
        let mut rng = Rng::new(seed).part(index as u64);
        let theme = Theme::draw(&mut rng);
        let company = Company::draw(&mut rng);
        let habit = Habit::draw(&mut rng);
        let topics: Vec<Topic> = Topic::ALL
            .into_iter()
            .filter(|topic| matches!(topic, Topic::Title | Topic::Problem | Topic::Ask) || rng.chance(0.88))
            .collect();
        let draw = |(place, topic): (usize, Topic)| {
            let mut rng = rng.part(place as u64);
            let has_chart = rng.chance(topic.chart_probability());
            let quality = habit.slide(&mut rng, has_chart);
            let (quality, rng) = match work(place, &quality) {
                Some(better) => (better, rng.part(1)),
                None => (quality, rng),
            };
            Slide::draw(topic, quality, &theme, &company, place + 1, rng)
        };
        let slides = topics.into_iter().enumerate().map(draw).collect();
        Self { company: company.name, slides }
    }

    /// The pages in order.
    pub fn scenes(&self) -> Vec<Scene> {
        self.slides.iter().map(|slide| slide.scene.clone()).collect()
    }
}

impl Slide {
    fn draw(
        topic: Topic,
        quality: Quality,
        theme: &Theme,
        company: &Company,
        number: usize,
        mut rng: Rng,
    ) -> Self {
        let mut look = Look::draw(&quality, &mut rng);
        let mut painter = Painter {
            theme,
            company,
            topic,
            look: &mut look,
            rng,
            scene: Scene::new(theme.background),
            form: None,
        };
        painter.paint(number);
        let (scene, form) = (painter.scene, painter.form);
        Self { topic, quality, look, form, scene }
    }

    /// Draws a slide of a given quality, with everything else taken from the seed: equal seeds differ in nothing but the quality.
    pub fn of_quality(seed: u64, topic: Topic, quality: Quality) -> Self {
        let mut rng = Rng::new(seed);
        let (theme, company) = (Theme::draw(&mut rng), Company::draw(&mut rng));
        Self::draw(topic, quality, &theme, &company, 2, rng)
    }
}
