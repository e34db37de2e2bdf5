//! Keys: what a slip costs, and keyboards of other countries.

use slide_label::Kind;

use crate::common::{Site, wait_until};
use crate::driver::{Browser, Driver, ENTER};
use crate::{serve, sign_in, slide_id, slide_name, wait_for_another, wait_saved};

fn checked(browser: &Browser<'_>) -> u64 {
    browser.run("return document.querySelectorAll('input[type=radio]:checked').length").as_u64().unwrap()
}

pub(crate) fn a_key_that_is_held_down_rates_skips_and_undoes_nothing() {
    let driver = Driver::start();
    let site = Site::new(4, 4, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    browser.press_placed("5", "Digit5", 10);
    assert_eq!(checked(&browser), 1, "one criterion, not all");
    browser.press("5555");
    let before = slide_name(&browser);
    browser.press_placed("Enter", "Enter", 10);
    wait_for_another(&browser, &before);
    let second = slide_id(&browser);
    browser.press_placed("s", "KeyS", 10);
    wait_until("the slide is skipped", || slide_id(&browser) != second);
    wait_saved(&browser);
    let kinds = |site: &Site| site.events().iter().map(|event| event.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&site), [Kind::Rated, Kind::Skipped]);
    browser.press_placed("u", "KeyU", 10);
    wait_until("it is taken back", || kinds(&site).len() == 3);
    assert_eq!(kinds(&site), [Kind::Rated, Kind::Skipped, Kind::Undone]);
    assert_eq!(slide_id(&browser), second);
    browser.press_placed("ArrowRight", "ArrowRight", 10);
    assert!(checked(&browser) <= 1, "an arrow that is held does not go through the scores");
}

pub(crate) fn digits_and_letters_go_by_their_place_on_other_keyboards() {
    let driver = Driver::start();
    let site = Site::new(4, 4, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    // The digit row of a French keyboard, without and with Shift; then a number pad.
    for (key, code) in [("&", "Digit1"), ("é", "Digit2"), ("\"", "Digit3"), ("'", "Digit4"), ("5", "Numpad5")]
    {
        browser.press_placed(key, code, 0);
    }
    let given = "return [...document.querySelectorAll('input[type=radio]:checked')].map((input) => input.value).join('')";
    assert_eq!(browser.run(given), "12345");
    // Letters of a Russian and a Greek keyboard, at the places of c, d and n; and of a French one, where they are what they say.
    browser.press_placed("с", "KeyC", 0);
    let focused = "return document.activeElement.name";
    assert_eq!(browser.run(focused), "clarity");
    browser.press_placed("δ", "KeyD", 0);
    assert_eq!(browser.run(focused), "design");
    browser.press_placed("т", "KeyN", 0);
    assert_eq!(browser.run(given), "1na345");
    browser.press_placed("z", "KeyW", 0);
    assert!(
        browser
            .run("return document.getElementById('viewport').className")
            .as_str()
            .unwrap()
            .contains("zoomed")
    );
    let before = slide_name(&browser);
    browser.press(ENTER);
    wait_for_another(&browser, &before);
}

pub(crate) fn a_rating_is_not_replaced_by_a_skip_without_a_question() {
    let driver = Driver::start();
    let site = Site::new(4, 4, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let (first, name) = (slide_id(&browser), slide_name(&browser));
    browser.press("44444");
    browser.press(ENTER);
    wait_for_another(&browser, &name);
    let second = slide_id(&browser);
    browser.press("b");
    wait_until("back", || slide_id(&browser) == first);
    browser.press("s");
    let is_open = "return document.getElementById('replace').open";
    assert_eq!(browser.run(is_open), true, "it is asked");
    browser.press(ENTER);
    wait_until("the rating is kept", || browser.run(is_open) == false);
    browser.press("f");
    wait_until("forward again", || slide_id(&browser) == second);
    wait_saved(&browser);
    assert_eq!(site.events().len(), 1, "nothing was changed");
    browser.press("bs");
    browser.click("#skip-rated");
    wait_until("it is skipped", || site.events().last().is_some_and(|event| event.kind == Kind::Skipped));
}

pub(crate) fn skipped_slides_are_visited_one_after_another() {
    let driver = Driver::start();
    let site = Site::new(2, 3, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let mut skipped = Vec::new();
    for round in 0..6 {
        let (id, name) = (slide_id(&browser), slide_name(&browser));
        if round % 2 == 0 {
            skipped.push(id);
            browser.press("s");
        } else {
            browser.press("33333");
            browser.press(ENTER);
        }
        wait_until("it goes on", || {
            slide_name(&browser) != name
                || browser.run("return !document.getElementById('done').hidden") == true
        });
    }
    wait_until("the end", || {
        browser.text("#done-text").contains("You have rated 3 of 6 slides and skipped 3.")
    });
    browser.click("#done-skipped");
    for (place, id) in skipped.iter().enumerate() {
        wait_until("the skipped slide", || slide_id(&browser) == *id);
        // The second is skipped again: the round goes on, and ends.
        browser.press(if place == 1 { "s" } else { "55555" });
        if place != 1 {
            browser.press(ENTER);
        }
    }
    wait_until("the end again", || browser.text("#done-text").contains("rated 5 of 6 slides and skipped 1."));
}
