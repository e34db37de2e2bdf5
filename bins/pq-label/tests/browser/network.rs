//! Nothing is lost: cut networks, killed servers, full disks, stale tabs.

use super::*;

#[test]
fn a_cut_network_loses_nothing_not_even_through_a_reload() {
    let Some(driver) = driver("a cut network") else { return };
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
        let before = slide_name(&browser);
        browser.press("33333");
        browser.press(ENTER);
        wait_for_another(&browser, &before);
        wait_for_slide(&browser);
    }
    wait_until("the page says so", || browser.text("#status").contains("3 ratings kept in this browser"));
    assert_eq!(site.events().len(), 0);
    browser.set_offline(false);
    browser.reload();
    wait_for_slide(&browser);
    wait_until("all arrive", || site.events().len() == 3);
    wait_saved(&browser);
    assert_eq!(site.store().of_annotator("Ana").len(), 3);
}

#[test]
fn a_killed_server_loses_nothing_and_the_page_goes_on() {
    let Some(driver) = driver("kill -9") else { return };
    let site = Site::new(4, 3, "calibration_slides = 0");
    let mut server = serve(&site);
    let port = server.port().to_owned();
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let rate = || {
        let before = slide_name(&browser);
        browser.press("44444");
        browser.press(ENTER);
        wait_for_another(&browser, &before);
    };
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

#[test]
fn a_stale_tab_cannot_overwrite() {
    let Some(driver) = driver("a stale tab") else { return };
    let site = Site::new(3, 2, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let (stale, slide) = (browser.handle(), slide_id(&browser));
    let fresh = browser.new_tab();
    browser.switch_to(&fresh);
    browser.open(&server.url);
    wait_for_slide(&browser);
    assert_eq!(slide_id(&browser), slide);
    let before = slide_name(&browser);
    browser.press("55555");
    browser.press(ENTER);
    wait_for_another(&browser, &before);
    wait_saved(&browser);
    browser.switch_to(&stale);
    browser.press("11111");
    browser.press(ENTER);
    wait_until("the page asks", || browser.run("return document.getElementById('conflict').open") == true);
    assert_eq!(stored(&site, &slide, "Ana", "clarity"), Some(5), "what is saved stays");
    browser.click("#keep-saved");
    assert_eq!(site.events().len(), 1);
    browser.press("b");
    wait_until("the stale tab shows what is saved", || {
        browser.run("return document.querySelectorAll('input[value=\"5\"]:checked').length") == 5
    });
}
