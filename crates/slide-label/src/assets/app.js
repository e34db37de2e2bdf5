// The labelling page: who rates, then one slide after another.

import { api, Failure } from "./api.js";
import { Deck } from "./deck.js";
import { $, h, setUpTheme, show, storage } from "./dom.js";
import { RatingForm } from "./form.js";
import { fillHelp } from "./keys.js";
import { forget, recall, remember, setUpOffline } from "./offline.js";
import { Outbox } from "./outbox.js";
import { page, say, showProgress, VIEWS } from "./page.js";
import { answered, keepDraft, render } from "./rater.js";
import { conflict, refused } from "./trouble.js";
import { Viewer } from "./viewer.js";

const RETRY_MS = 3000;

setUpTheme($("theme"));
setUpOffline();
start();

async function start() {
  try {
    page.session = await api("GET", "/session");
    const token = location.pathname === "/join" ? location.hash.slice(1) : "";
    if (token) {
      history.replaceState(null, "", "/"); // the secret does not stay in the address
      page.session = await api("POST", "/session", { token });
    }
  } catch (failure) {
    if (failure instanceof Failure && failure.status === 0) {
      page.session = recall()?.session ?? null;
      if (page.session) {
        await begin(true);
        return;
      }
      say("The server cannot be reached; trying again …", "offline");
      setTimeout(start, RETRY_MS);
      return;
    }
    say(failure.message, "offline");
    page.session = await api("GET", "/session").catch(() => ({ person: null, access: "invited" }));
  }
  if (page.session.person) await begin(false);
  else askName();
}

function askName() {
  forget();
  show("sign-in", VIEWS);
  const isLocal = page.session.access === "local";
  $("sign-in-form").hidden = !isLocal;
  $("sign-in-text").textContent = isLocal
    ? "Everybody has a queue and ratings of their own."
    : "Open the invitation link that your lead has sent you.";
  $("known-names").replaceChildren(...(page.session.known_names ?? []).map((name) => h("option", { value: name })));
  $("name").value = storage.get("pq:name") ?? "";
  if (isLocal) $("name").focus();
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    page.session = await api("POST", "/session", { name: $("name").value });
    storage.set("pq:name", page.session.person.name);
    say("");
    await begin(false);
  } catch (failure) {
    say(failure.message, "offline");
  }
});

/** Starts rating; `isOffline` where only what this browser remembers is there. */
async function begin(isOffline) {
  const { person, rubric } = page.session;
  for (const id of ["tools", "progress"]) $(id).hidden = false;
  $("person").textContent = person.name;
  $("lead-link").hidden = person.role !== "lead";
  page.viewer ??= new Viewer();
  page.form = new RatingForm(rubric, keepDraft);
  fillHelp();
  page.outbox ??= new Outbox(person.name, { changed: showProgress, saved, back, conflict, refused: notTaken, signIn: signInAgain });
  page.deck = new Deck(changed, page.outbox);
  if (isOffline) {
    page.outbox.isOffline = true;
    page.deck.restore(recall().deck);
    page.outbox.retry();
    await render();
    return;
  }
  await page.outbox.flush(); // what this browser still holds counts before the next slides are chosen
  try {
    await page.deck.load();
  } catch (failure) {
    const known = recall();
    if (failure.status === 0 && known) {
      await begin(true);
      return;
    }
    say(`${failure.message}; trying again …`, "offline");
    setTimeout(() => begin(false), RETRY_MS);
    return;
  }
  await render();
}

function changed() {
  showProgress();
  remember(page.session, page.deck);
}

/** The server is back: what it knows by now joins what was done without it. */
async function back() {
  const { deck } = page;
  if (!deck?.isRestored) return;
  try {
    page.session = await api("GET", "/session");
    await deck.load();
    if (page.shown === null || deck.current !== page.shown.slide_id) await render();
    showProgress();
  } catch { /* still away: the outbox tries again */ }
}

/** A session that ended (the server's list was lost): on this machine the name is enough to go on. */
async function signInAgain() {
  if (page.session.access === "local") {
    try {
      page.session = await api("POST", "/session", { name: page.session.person.name });
      return true;
    } catch { /* asked below */ }
  }
  say("Your session has ended. Your ratings are kept in this browser until you have signed in again.", "offline");
  return false;
}

function saved(event, answer) {
  page.outbox.wasSaved = true;
  page.deck.setProgress(answer.progress);
  answered(event, answer);
}

function notTaken(event, message) {
  answered(event, null);
  refused(event, message);
}

$("sign-out").addEventListener("click", async () => {
  const unsent = page.outbox?.pending().length ?? 0;
  const question = `${unsent} of your ratings are not sent yet. They stay in this browser until you sign in here again. Sign out?`;
  if (unsent > 0 && !window.confirm(question)) return;
  await api("DELETE", "/session").catch(() => {});
  await forget();
  location.assign("/");
});

document.addEventListener("click", (event) => {
  if (!$("menu").contains(event.target)) $("menu").open = false;
});
