//! The page in a real browser (Debian's chromium, driven over `WebDriver`). Where none is installed the tests say that they were left
//! out; `.ci/install-browser` installs one.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod looks;
mod network;
mod people;
mod rating;

use common::{Server, Site, wait_until};
use driver::{Browser, Driver, ENTER};
use slide_data::Score;

/// The driver, or nothing, said clearly.
fn driver(test: &str) -> Option<Driver> {
    let driver = Driver::start();
    if driver.is_none() {
        eprintln!("LEFT OUT: {test} needs chromium and chromedriver (.ci/install-browser installs them)");
    }
    driver
}

fn serve(site: &Site) -> Server {
    Server::start(site, &["--port", "0"])
}

#[track_caller]
fn sign_in(browser: &Browser<'_>, url: &str, name: &str) {
    browser.open(url);
    wait_until("the page asks for a name", || {
        browser
            .run("return document.activeElement?.id === 'name' && !document.getElementById('sign-in').hidden")
            == true
    });
    browser.press(name);
    browser.press(ENTER);
    wait_for_slide(browser);
}

#[track_caller]
fn wait_for_slide(browser: &Browser<'_>) {
    wait_until("a slide is shown", || {
        browser.run(
            "return !document.getElementById('rate').hidden && !document.getElementById('picture').hidden",
        ) == true
    });
}

fn slide_name(browser: &Browser<'_>) -> String {
    browser.text("#slide-name")
}

/// The slide's id, from its name on the page.
fn slide_id(browser: &Browser<'_>) -> String {
    let name = slide_name(browser);
    let (deck, rest) = name.split_once(", slide ").expect("a slide's name");
    let number: usize = rest.split(' ').next().unwrap().parse().unwrap();
    format!("{deck}-{number:03}")
}

#[track_caller]
fn wait_for_another(browser: &Browser<'_>, before: &str) {
    wait_until("the next slide", || slide_name(browser) != before);
}

#[track_caller]
fn wait_saved(browser: &Browser<'_>) {
    wait_until("all is saved", || browser.text("#status") == "All saved");
}

fn stored(site: &Site, slide: &str, who: &str, key: &str) -> Option<u8> {
    site.store().current(slide, who)?.scores().get(key).copied().flatten().map(Score::get)
}
