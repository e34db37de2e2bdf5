//! Nothing is lost: cut networks, killed servers, full disks, stale tabs.

use std::time::Duration;

use pq_testing::SmallDisk;
use slide_label::Kind;

use crate::common::wire::Wire;
use crate::common::{Server, Site, wait_until};
use crate::driver::{Browser, Driver, ENTER};
use crate::{serve, sign_in, slide_id, slide_name, stored, wait_for_another, wait_for_slide, wait_saved};

/// Longer than the server goes without looking at the manifest.
const MANIFEST_PAUSE: Duration = Duration::from_millis(3200);

/// Gives the slide on screen the same score on every criterion.
#[track_caller]
fn rate(browser: &Browser<'_>, score: &str) {
    let before = slide_name(browser);
    browser.press(&score.repeat(5));
    browser.press(ENTER);
    wait_for_another(browser, &before);
}

pub(crate) fn a_cut_network_loses_nothing_not_even_through_a_reload() {
    let driver = Driver::start();
    let site = Site::new(4, 3, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    wait_until("the next slides are loaded", || {
        browser.run(
            "return performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/image')).length",
        ) == 5
    });
    browser.set_offline(true);
    for _ in 0..3 {
        rate(&browser, "3");
        wait_for_slide(&browser);
    }
    wait_until("the page says so", || browser.text("#status").contains("3 ratings kept in this browser"));
    assert_eq!(site.events().len(), 0);
    browser.set_offline(false);
    browser.reload();
    wait_for_slide(&browser);
    wait_until("all arrive", || site.events().len() == 3);
    // Sent by the page before the reload or by the one after it: neither keeps them any longer.
    wait_until("nothing is left to send", || {
        browser.run("return Object.keys(localStorage).filter((key) => key.startsWith('pq:unsent:')).length")
            == 0
    });
    assert_eq!(site.store().of_annotator("Ana").len(), 3);
}

pub(crate) fn without_the_server_the_page_still_loads_shows_its_slides_and_takes_ratings() {
    let driver = Driver::start();
    let site = Site::new(4, 3, "calibration_slides = 0");
    let server = serve(&site);
    let wire = Wire::to(&server.url);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &wire.url, "Ana");
    wait_until("the page and the next slides are kept", || {
        let count = "const done = arguments[arguments.length - 1];
            Promise.all(['pq-shell', 'pq-pictures'].map(async (name) => (await (await caches.open(name)).keys()).length)).then(done)";
        let kept = browser.run_async(count);
        kept[0].as_u64() >= Some(18) && kept[1] == 5
    });
    wire.cut();
    rate(&browser, "1");
    browser.reload();
    wait_for_slide(&browser);
    assert!(browser.text("#status").contains("1 rating kept in this browser"), "{}", browser.text("#status"));
    let second = slide_id(&browser);
    rate(&browser, "2");
    browser.press("u");
    wait_until("the second slide is back", || slide_id(&browser) == second);
    browser.press("c4");
    browser.press(ENTER);
    browser.reload();
    wait_for_slide(&browser);
    assert_eq!(site.events().len(), 0);
    wire.mend();
    wait_until("everything arrives", || site.events().len() == 4);
    wait_saved(&browser);
    let kinds: Vec<Kind> = site.events().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Rated, Kind::Rated, Kind::Undone, Kind::Rated]);
    assert_eq!(stored(&site, &second, "Ana", "clarity"), Some(4));
    rate(&browser, "5");
    wait_until("and it goes on", || site.store().of_annotator("Ana").len() == 3);
}

pub(crate) fn a_refused_rating_is_listed_until_it_is_sent_again() {
    let driver = Driver::start();
    let site = Site::new(2, 2, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let slide = slide_id(&browser);
    let manifest = site.data().join("raw/manifest.jsonl");
    let whole = std::fs::read_to_string(&manifest).unwrap();
    let without: String = whole
        .lines()
        .filter(|line| !line.contains(&slide))
        .fold(String::new(), |text, line| text + line + "\n");
    std::fs::write(&manifest, without).unwrap();
    std::thread::sleep(MANIFEST_PAUSE);
    browser.run("return fetch('/api/queue', {method: 'POST', headers: {'content-type': 'application/json'}, body: '{\"count\": 0}'}).then(() => 1)");
    rate(&browser, "3");
    wait_until("the page says so", || browser.text("#open-refused") == "1 not taken");
    browser.reload();
    wait_for_slide(&browser);
    browser.click("#open-refused");
    let listed = browser.text("#refused-list");
    assert!(
        listed.contains(&slide) && listed.contains("Clarity 3") && listed.contains("there is no slide"),
        "{listed}"
    );
    std::fs::write(&manifest, whole).unwrap();
    std::thread::sleep(MANIFEST_PAUSE);
    browser.run("return fetch('/api/queue', {method: 'POST', headers: {'content-type': 'application/json'}, body: '{\"count\": 0}'}).then(() => 1)");
    browser.click("#refused-list button");
    wait_until("it arrives", || stored(&site, &slide, "Ana", "clarity") == Some(3));
    wait_until("the list is empty", || {
        browser.run("return document.getElementById('open-refused').hidden") == true
    });
}

pub(crate) fn on_a_full_disk_the_browser_keeps_the_rating_until_there_is_room() {
    let driver = Driver::start();
    let site = Site::new(2, 2, "calibration_slides = 0");
    let disk = SmallDisk::at(&site.data().join("labeled"), "512k");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    disk.fill();
    rate(&browser, "3");
    wait_until("the page says so", || browser.text("#status").starts_with("Not saved yet"));
    assert_eq!(site.events().len(), 0, "nothing was acknowledged");
    browser.reload();
    wait_for_slide(&browser);
    disk.make_room();
    wait_until("it arrives", || site.events().len() == 1);
    wait_saved(&browser);
}

pub(crate) fn a_killed_server_loses_nothing_and_the_page_goes_on() {
    let driver = Driver::start();
    let site = Site::new(4, 3, "calibration_slides = 0");
    let mut server = serve(&site);
    let port = server.port().to_owned();
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let rate = || rate(&browser, "4");
    rate();
    wait_until("one arrives", || site.events().len() == 1);
    server.kill();
    rate();
    rate();
    assert_eq!(site.events().len(), 1);
    let _again = Server::start(&site, &["--port", &port]);
    wait_until("the others arrive", || site.events().len() == 3);
    wait_saved(&browser);
    rate();
    wait_until("and it goes on", || site.store().of_annotator("Ana").len() == 4);
}

pub(crate) fn a_stale_page_cannot_overwrite() {
    let driver = Driver::start();
    let site = Site::new(3, 2, "calibration_slides = 0");
    let server = serve(&site);
    // Two browsers of one person: they know nothing of each other.
    let (stale, fresh) = (driver.browser(1300, 850), driver.browser(1300, 850));
    sign_in(&stale, &server.url, "Ana");
    sign_in(&fresh, &server.url, "Ana");
    let slide = slide_id(&stale);
    assert_eq!(slide_id(&fresh), slide);
    let before = slide_name(&fresh);
    fresh.press("55555");
    fresh.press(ENTER);
    wait_for_another(&fresh, &before);
    wait_saved(&fresh);
    stale.press("11111");
    stale.press(ENTER);
    wait_until("the page asks", || stale.run("return document.getElementById('conflict').open") == true);
    assert_eq!(stored(&site, &slide, "Ana", "clarity"), Some(5), "what is saved stays");
    stale.click("#keep-saved");
    assert_eq!(site.events().len(), 1);
    stale.press("b");
    wait_until("the stale page shows what is saved", || {
        stale.run("return document.querySelectorAll('input[value=\"5\"]:checked').length") == 5
    });
}
