//! Draws sample pitch decks of known quality and simulates the people who rate them.
//!
//! A deck is a list of pages of 1280 × 720 units, drawn as vectors and written as PDF or PNG. Every slide has a latent quality
//! from 1 to 5 per criterion that drives what can be seen; simulated raters see it through their own severity and noise.
//! The same seed gives the same decks and the same ratings on every machine.
//! ```
//! let deck = sample_decks::Deck::draw(7, 0);
//! let pdf = sample_decks::render_pdf(&deck.scenes())?;
//! assert!(pdf.starts_with(b"%PDF"));
//! # Ok::<(), sample_decks::Error>(())
//! ```
#![forbid(unsafe_code)]

mod chart;
mod color;
mod deck;
mod decoration;
mod error;
mod font;
mod illustration;
mod look;
mod pdf;
mod png;
mod quality;
mod raters;
mod rng;
mod scene;
mod sidecar;
mod slide;
mod table;
mod text;
mod theme;
mod topic;
mod users;
mod words;

pub use color::Color;
pub use deck::{Deck, Slide};
pub use error::{Error, Result};
pub use font::{Face, Family};
pub use look::Look;
pub use pdf::render_pdf;
pub use png::render_png;
pub use quality::Quality;
pub use raters::{Disagreement, Rater, Rating, agreement, rate_slides, ratings_csv};
pub use rng::Rng;
pub use scene::{Element, Item, Kind, Rect, Scene, Step};
pub use sidecar::{Format, LATENTS_FILE, Latents, Order, write_decks, write_seen};
pub use topic::Topic;
pub use users::correct_slides;
