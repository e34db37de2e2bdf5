// The labelling page: who rates, then one slide after another.

import { api, Failure } from "./api.js";
import { Deck } from "./deck.js";
import { $, BASE, h, setUpTheme, show, storage } from "./dom.js";
import { RatingForm, watchPinned } from "./form.js";
import { fillHelp } from "./keys.js";
import { forget, recall, remember, setUpOffline } from "./offline.js";
import { Outbox } from "./outbox.js";
import { page, remark, say, showProgress, VIEWS } from "./page.js";
import { answered, isBegun, keepDraft, render, tellDone } from "./rater.js";
import { Tabs } from "./tabs.js";
import { conflict, refused } from "./trouble.js";
import { Viewer } from "./viewer.js";

const RETRY_MS = 3000;
/** Where the secret of this machine's link is kept, so that people who share a browser can take turns. */
const LOCAL_KEY = "pq:local-key";
/** While nothing waits for the person, the server is asked again this often. */
const LOOK_MS = 8000;
/** What the page was given longer ago than this is asked about again as soon as somebody is there. */
const STALE_MS = 60000;

setUpTheme($("theme"));
setUpOffline();
watchPinned();
start();

async function start() {
  try {
    page.session = await api("GET", "/session");
    const token = location.pathname.endsWith("/join") ? location.hash.slice(1) : "";
    if (token) {
      const answer = await api("POST", "/session", { token });
      history.replaceState(null, "", BASE); // the secret does not stay in the address, once it has served
      if (page.session.access === "local") storage.set(LOCAL_KEY, token);
      if (answer.person || !page.session.person) page.session = answer;
    } else if (!page.session.person && page.session.access === "local" && storage.get(LOCAL_KEY)) {
      // Known from an earlier visit; of a server that was started anew it is another one.
      page.session = await api("POST", "/session", { token: storage.get(LOCAL_KEY) }).catch((failure) => {
        if (failure.status === 0) throw failure;
        storage.remove(LOCAL_KEY);
        return page.session;
      });
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
  const isLocal = page.session.access === "local" && storage.get(LOCAL_KEY) !== null;
  $("sign-in-form").hidden = !isLocal;
  $("sign-in-text").textContent = isLocal
    ? "Everybody has a queue and ratings of their own."
    : page.session.access === "local"
      ? "Open the link that pq-label printed when it was started."
      : "Open the invitation link that your lead has sent you.";
  $("known-names").replaceChildren(...(page.session.known_names ?? []).map((name) => h("option", { value: name })));
  $("name").value = storage.get("pq:name") ?? "";
  if (isLocal) $("name").focus();
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    page.session = await api("POST", "/session", { name: $("name").value, token: storage.get(LOCAL_KEY) });
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
  page.outbox ??= new Outbox(person.name, { changed: showState, saved, back, conflict, refused: notTaken, signIn: signInAgain });
  page.tabs ??= new Tabs(person.name, doneElsewhere);
  page.deck = new Deck(person.name, page.outbox, page.tabs, { changed, arrived, withdrawn, failed, isBegun });
  if (isOffline) {
    page.outbox.isOffline = true;
    page.deck.restore(recall().deck);
    page.outbox.retry();
    page.isRating = true;
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
  page.isRating = true;
  await render();
}

function showState() {
  showProgress();
  tellDone();
}

function changed() {
  showState();
  remember(page.session, page.deck);
}

/** There is a slide where none was, or for certain none. */
function arrived() {
  if (page.isRating && page.shown === null) render();
}

/** Others have rated the slide on screen while the page lay open. */
async function withdrawn() {
  await render();
  remark("Others have rated that slide meanwhile: here is another one");
}

/** Another tab of this person has saved something. */
async function doneElsewhere(event) {
  if (!page.deck?.doneElsewhere(event) || isBegun(event.slide_id)) return;
  await render();
}

/** The server does not give slides for a reason that waiting does not mend. */
async function failed(failure) {
  if (failure.status === 401 && (await signInAgain())) page.deck.keepFilled();
  else if (failure.status !== 401) say(failure.message, "offline");
}

/** Asks the server anew about slides that the page was given a while ago. */
function recheck() {
  const { deck, outbox } = page;
  if (!deck || deck.isRestored || outbox.isOffline || document.hidden || Date.now() - deck.triedAt < STALE_MS) return;
  deck.refill().catch(() => { /* the next request says what is wrong */ });
}

for (const kind of ["visibilitychange", "keydown", "pointerdown"]) document.addEventListener(kind, recheck, { capture: true });
setInterval(() => {
  if (page.deck && page.shown === null && !document.hidden && !page.outbox.isOffline) page.deck.refill().catch(() => {});
}, LOOK_MS);

/** The server is back: what it knows by now joins what was done without it. */
async function back() {
  const { deck } = page;
  if (!deck) return;
  if (!deck.isRestored) {
    if (page.shown === null) await deck.refill().then(render, () => {});
    else deck.keepFilled();
    return;
  }
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
      page.session = await api("POST", "/session", { name: page.session.person.name, token: storage.get(LOCAL_KEY) });
      return true;
    } catch { /* asked below */ }
  }
  const how = page.session.access === "local" ? "opened the link that pq-label printed" : "opened your link again";
  say(`Your session has ended. Your ratings are kept in this browser until you have ${how}.`, "offline");
  return false;
}

function saved(event, answer) {
  page.outbox.wasSaved = true;
  page.deck.setProgress(answer.progress);
  page.tabs.tell(event, answer.head);
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
  location.assign(BASE);
});

document.addEventListener("click", (event) => {
  if (!$("menu").contains(event.target)) $("menu").open = false;
});
