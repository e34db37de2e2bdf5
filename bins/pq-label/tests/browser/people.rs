//! Several people at once, invitations, the lead.

use slide_data::Score;

use crate::common::{Server, Site, wait_until};
use crate::driver::{Driver, ENTER, TAB};
use crate::{serve, sign_in, slide_name, stored, wait_for_another, wait_for_slide, wait_saved};

pub(crate) fn two_people_at_once_keep_their_own_queue_and_ratings() {
    let driver = Driver::start();
    let site = Site::new(4, 3, "raters_per_slide = 1\nmax_raters_per_slide = 1\ncalibration_slides = 0");
    let server = serve(&site);
    let (ana, ben) = (driver.browser(1300, 850), driver.browser(1300, 850));
    sign_in(&ana, &server.url, "Ana");
    sign_in(&ben, &server.url, "Ben");
    for _ in 0..4 {
        for (browser, key) in [(&ana, "2"), (&ben, "4")] {
            let before = slide_name(browser);
            browser.press(&key.repeat(5));
            browser.press(ENTER);
            wait_for_another(browser, &before);
        }
    }
    wait_saved(&ana);
    wait_saved(&ben);
    let store = site.store();
    let (hers, his) = (store.of_annotator("Ana"), store.of_annotator("Ben"));
    assert_eq!((hers.len(), his.len()), (4, 4));
    assert!(hers.iter().all(|event| stored(&site, event.slide_id(), "Ana", "design") == Some(2)));
    assert!(his.iter().all(|event| stored(&site, event.slide_id(), "Ben", "design") == Some(4)));
    assert!(
        hers.iter().all(|event| his.iter().all(|other| other.slide_id() != event.slide_id())),
        "no slide twice"
    );
}

pub(crate) fn strangers_stay_out_and_invited_people_get_in() {
    let driver = Driver::start();
    let site = Site::new(3, 2, "calibration_slides = 0");
    let server = Server::start(&site, &["--port", "0", "--host", "0.0.0.0"]);
    let link = server.lead_link.clone().unwrap().replace("0.0.0.0", "127.0.0.1");
    let url = server.url.replace("0.0.0.0", "127.0.0.1");
    let (lead, ana, stranger) =
        (driver.browser(1300, 850), driver.browser(1300, 850), driver.browser(1300, 850));
    stranger.open(&url);
    wait_until("an invitation is asked for", || stranger.text("#sign-in-text").contains("invitation link"));
    lead.open(&link);
    wait_for_slide(&lead);
    assert_eq!(
        lead.run("return location.hash + location.pathname"),
        "/",
        "the secret does not stay in the address"
    );
    lead.open(&format!("{url}/lead"));
    wait_until("the lead's page", || {
        lead.run("return !document.getElementById('invite-panel').hidden") == true
    });
    lead.click("#invite-name");
    lead.press("Ana");
    lead.press(ENTER);
    wait_until("a link", || lead.text("#invite-link").contains("/join#"));
    ana.open(&lead.text("#invite-link code"));
    wait_for_slide(&ana);
    assert_eq!(ana.text("#person"), "Ana");
    assert_eq!(ana.run("return document.cookie"), "", "scripts cannot read the session");
    ana.press("33333");
    ana.press(ENTER);
    wait_until("her rating arrives", || site.store().of_annotator("Ana").len() == 1);
}

pub(crate) fn a_lead_decides_a_dispute() {
    let driver = Driver::start();
    let site = Site::new(2, 2, "calibration_slides = 0");
    let rows = "slide_id,annotator,clarity\ndeck0-001,Ben,1\ndeck0-001,Cleo,5\n";
    std::fs::write(site.dir.path().join("r.csv"), rows).unwrap();
    assert_eq!(site.run(&["import", "r.csv"]).0, 0);
    let mut server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    browser.open(&format!("{}/lead", server.url));
    wait_until("the dispute", || browser.run("return document.querySelectorAll('.dispute').length") == 1);
    browser.click(".dispute select[name=clarity]");
    browser.press("4");
    browser.press(TAB);
    browser.run("document.querySelector('.dispute input').focus()");
    browser.press("the title says it");
    browser.press(ENTER);
    wait_until("it is kept", || site.store().adjudication("deck0-001").is_some());
    assert_eq!(server.stop(), 0);
    let label = &site.labels().slides["deck0-001"];
    assert_eq!(label.scores["clarity"], Score::new(4));
    assert_eq!(label.distribution["clarity"], [1, 0, 0, 0, 1], "the ratings stay");
}
