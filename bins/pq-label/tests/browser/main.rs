//! The page in a real browser (Debian's chromium, driven over `WebDriver`). Where none is installed the tests are ignored;
//! `.ci/install-browser` installs one.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, stops at the first surprise, and shares its driver"
)]

#[path = "../common/mod.rs"]
mod common;
mod driver;
mod fits;
mod keys;
mod looks;
mod network;
mod people;
mod rating;
mod sharing;

use common::{Server, Site, key_of, wait_until};
use driver::{Browser, ENTER};
use slide_data::Score;

pq_testing::tests! {
    rating::ten_slides_are_rated_with_six_keys_each: needs Browser;
    rating::what_is_missing_is_shown_and_letters_arrows_notes_and_dialogs_work: needs Browser;
    rating::undo_back_and_skip_are_kept_as_events: needs Browser;
    rating::the_model_speaks_only_after_the_rater: needs Browser;
    rating::the_page_fits_a_phone: needs Browser;
    network::a_cut_network_loses_nothing_not_even_through_a_reload: needs Browser;
    network::without_the_server_the_page_still_loads_shows_its_slides_and_takes_ratings: needs Browser;
    network::a_refused_rating_is_listed_until_it_is_sent_again: needs Browser;
    network::on_a_full_disk_the_browser_keeps_the_rating_until_there_is_room: needs Browser, FullDisk;
    network::a_killed_server_loses_nothing_and_the_page_goes_on: needs Browser;
    network::a_stale_page_cannot_overwrite: needs Browser;
    people::two_people_at_once_keep_their_own_queue_and_ratings: needs Browser;
    people::strangers_stay_out_and_invited_people_get_in: needs Browser;
    people::a_lead_decides_a_dispute: needs Browser;
    fits::whatever_has_the_focus_is_seen_at_every_size: needs Browser;
    keys::a_key_that_is_held_down_rates_skips_and_undoes_nothing: needs Browser;
    keys::digits_and_letters_go_by_their_place_on_other_keyboards: needs Browser;
    keys::a_rating_is_not_replaced_by_a_skip_without_a_question: needs Browser;
    keys::skipped_slides_are_visited_one_after_another: needs Browser;
    sharing::a_slow_or_cut_connection_never_looks_like_the_end: needs Browser;
    sharing::the_end_is_told_rightly_and_the_page_goes_on_by_itself: needs Browser;
    sharing::two_tabs_share_one_queue: needs Browser;
    sharing::while_anything_is_not_saved_the_page_does_not_say_so: needs Browser;
    sharing::a_page_left_open_moves_on_from_what_others_have_rated: needs Browser;
    sharing::many_slow_and_cut_connections_never_look_like_the_end: ignored "200 runs, half an hour" needs Browser;
    looks::axe_finds_nothing: needs Browser, Axe;
    looks::images: ignored "makes images for the documentation" needs Browser;
}

fn serve(site: &Site) -> Server {
    Server::start(site, &["--port", "0"])
}

#[track_caller]
fn sign_in(browser: &Browser<'_>, url: &str, name: &str) {
    browser.open(&format!("{url}/join#{}", key_of(url)));
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

fn slide_id(browser: &Browser<'_>) -> String {
    let id = browser.run("return document.getElementById('slide-name').dataset.slideId");
    id.as_str().expect("a slide is shown").to_owned()
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
