//! A deck beside an older version that the service rated.

use sample_decks::{Deck, Quality, render_pdf};

use crate::common::{Service, logged, project};

fn pdf(deck: &Deck) -> Vec<u8> {
    render_pdf(&deck.scenes()).unwrap()
}

#[test]
fn a_newer_version_is_compared_with_the_older_one_and_nothing_is_rated_twice() {
    let project = project();
    let service = Service::start(&project, &[]);
    let old = Deck::draw(5, 0);
    let new = Deck::worked_on(5, 0, |place, quality| {
        (place == 2).then(|| Quality { readability: 5.0 - quality.readability / 4.0, ..*quality })
    });
    let first = service.deck("old.pdf", &pdf(&old));
    let id = first["id"].as_str().unwrap();
    let slides = old.slides.len();
    let taken = service.post(&format!("/decks?name=new.pdf&before={id}"), &pdf(&new), Some("key"));
    assert_eq!(taken.status, 202, "{}", taken.body);
    let second = service.wait_for_deck(taken.json()["id"].as_str().unwrap());
    assert_eq!((&second["scored"], &second["cached"]), (&slides.into(), &(slides - 1).into()), "{second}");
    let newer = second["id"].as_str().unwrap();
    let result = service.get(&format!("/decks/{newer}/result")).json();
    let versions = &result["versions"];
    assert_eq!(versions["kept"].as_array().unwrap().len(), slides - 1, "{versions}");
    let changed = &versions["changed"][0];
    assert_eq!((&changed["before"], &changed["after"]), (&3.into(), &3.into()), "{versions}");
    assert!(changed["differences"].as_array().unwrap().len() >= 4, "{versions}");
    let report = service.get(&format!("/decks/{newer}/report")).body;
    assert!(report.contains("Before and after") && report.contains("“old”"));
    let alone = service.get(&format!("/decks/{id}/result")).json();
    assert!(alone.get("versions").is_none(), "the older one is compared with nothing");
    assert_eq!(logged(&project).len(), 2 * slides);
    // The same request without the older version is another one.
    let other = service.post("/decks?name=new.pdf", &pdf(&new), Some("key"));
    assert_eq!(other.status, 422, "{}", other.body);
    let unknown = service.post("/decks?name=new.pdf&before=nothing", &pdf(&new), None);
    assert_eq!(unknown.status, 404, "{}", unknown.body);
}
