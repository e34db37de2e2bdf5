// The labelling page.

import { api, Failure } from "./api.js";
import { Deck } from "./deck.js";
import { $, h, newId, scoreText, setUpTheme, show, storage } from "./dom.js";
import { anchors, RatingForm } from "./form.js";
import { Outbox } from "./outbox.js";
import { Viewer } from "./viewer.js";

const VIEWS = ["sign-in", "rate", "done"];
let session, deck, form, outbox, viewer;
let shown = null; // the record on screen
let shownAt = 0;
let help = null; // the model's scores on screen, after a commit
const done = []; // what this page did, for undo: { event, before }
const conflicts = [];
const waiting = new Map(); // event id → what to do with the server's answer

start();

async function start() {
  setUpTheme($("theme"));
  try {
    session = await api("GET", "/session");
    const token = location.pathname === "/join" ? location.hash.slice(1) : "";
    if (token) {
      history.replaceState(null, "", "/"); // the secret does not stay in the address
      session = await api("POST", "/session", { token });
    }
  } catch (failure) {
    if (failure instanceof Failure && failure.status === 0) {
      say("The server cannot be reached; trying again …", true);
      setTimeout(start, 3000);
      return;
    }
    say(failure.message, true);
    session = await api("GET", "/session").catch(() => ({ person: null, access: "invited" }));
  }
  if (session.person) await begin();
  else askName();
}

function askName() {
  show("sign-in", VIEWS);
  const isLocal = session.access === "local";
  $("sign-in-form").hidden = !isLocal;
  $("sign-in-text").textContent = isLocal
    ? "Each person has a queue and ratings of their own."
    : "Open the invitation link that your lead has sent you.";
  $("known-names").replaceChildren(...(session.known_names ?? []).map((name) => h("option", { value: name })));
  $("name").value = storage.get("pq:name") ?? "";
  if (isLocal) $("name").focus();
}

$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    session = await api("POST", "/session", { name: $("name").value });
    storage.set("pq:name", session.person.name);
    say("");
    await begin();
  } catch (failure) {
    say(failure.message, true);
  }
});

async function begin() {
  for (const id of ["tools", "progress"]) $(id).hidden = false;
  $("person").textContent = session.person.name;
  $("lead-link").hidden = session.person.role !== "lead";
  viewer ??= new Viewer();
  form = new RatingForm(session.rubric, keepDraft);
  fillHelp();
  deck = new Deck(showProgress);
  outbox = new Outbox(session.person.name, { changed: showProgress, saved, conflict, refused, signIn: signInAgain });
  outbox.flush();
  try {
    await deck.load();
  } catch (failure) {
    say(`${failure.message}; trying again …`, true);
    setTimeout(begin, 3000);
    return;
  }
  await render();
}

/** A session that ended (the server's list was lost): on this machine the name is enough to go on. */
async function signInAgain() {
  if (session.access === "local") {
    try {
      session = await api("POST", "/session", { name: session.person.name });
      return true;
    } catch { /* asked below */ }
  }
  say("Your session has ended. Your ratings are kept in this browser until you have signed in again.", true);
  return false;
}

// ---- the slide on screen -------------------------------------------------------------------------------------------------

async function render() {
  help = null;
  $("model").hidden = true;
  $("anchors").hidden = false;
  const id = deck.current;
  if (id === undefined) {
    showDone();
    return;
  }
  try {
    shown = await deck.record(id);
  } catch (failure) {
    say(failure.message, true);
    return;
  }
  show("rate", VIEWS);
  shownAt = performance.now();
  const mine = shown.mine ?? {};
  form.fill(draft(id) ?? (mine.kind === "skipped" ? {} : { scores: mine.scores ?? {}, notes: mine.notes ?? "" }));
  const stateOf = { rated: "rated", changed: "rated", skipped: "skipped" }[mine.kind];
  $("slide-name").textContent = `${shown.deck_id}, slide ${shown.number}${stateOf ? ` · you ${stateOf} it` : ""}`;
  $("back").disabled = deck.place === 0;
  const open = form.missing();
  form.select(open[0] ?? 0);
  showProgress();
  viewer.fit();
  await showPicture(id);
}

async function showPicture(id) {
  const [image, text] = [$("picture"), $("picture-text")];
  const alt = `Slide ${shown.number} of ${shown.deck_id}`;
  image.hidden = true;
  text.hidden = false;
  text.textContent = "Loading the slide …";
  try {
    const address = await deck.picture(id);
    if (deck.current !== id) return;
    image.src = address;
    await image.decode();
    if (deck.current !== id) return;
    image.alt = alt;
    image.hidden = false;
    text.hidden = true;
  } catch (failure) {
    if (deck.current !== id) return;
    const cause = failure instanceof Failure || failure.name === "TypeError" ? "could not be loaded" : "could not be shown";
    text.textContent = `The picture ${cause}. You can skip the slide, or try again later.`;
  }
}

function showDone() {
  shown = null;
  show("done", VIEWS);
  const { rated = 0, slides = 0 } = deck.progress ?? {};
  $("done-text").textContent = `You have rated ${rated} of ${slides} slides. Those left have raters enough, or are with somebody else.`;
  const skipped = deck.skipped ?? [];
  $("done-skipped").hidden = skipped.length === 0;
  $("done-back").hidden = deck.behind.length === 0;
  showProgress();
  $("look-again").focus();
}

function showProgress() {
  const unsent = outbox?.pending().length ?? 0;
  const progress = deck?.progress;
  if (progress) {
    const all = progress.rated + progress.open;
    $("progress-bar").max = Math.max(1, all);
    $("progress-bar").value = progress.rated;
    $("progress-text").textContent = `${progress.rated} of ${all}${progress.skipped ? ` · ${progress.skipped} skipped` : ""}`;
  }
  const ratings = `${unsent} ${unsent === 1 ? "rating" : "ratings"}`;
  if (outbox?.isOffline && unsent > 0) say(`Offline: ${ratings} kept in this browser, sent when the server is back`, true);
  else if (unsent > 0) say(`Saving ${ratings} …`);
  else if (outbox?.wasSaved) say("All saved");
}

function say(text, isOffline = false) {
  const status = $("status");
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle("offline", isOffline);
}

// ---- drafts: a half-rated slide survives a reload ------------------------------------------------------------------------

const draftKey = (id) => `pq:draft:${session.person.name}:${id}`;

function keepDraft() {
  if (shown) storage.set(draftKey(shown.slide_id), JSON.stringify(form.values()));
}

function draft(id) {
  try { return JSON.parse(storage.get(draftKey(id))); } catch { return null; }
}

// ---- acting --------------------------------------------------------------------------------------------------------------

function act(kind, more = {}) {
  const before = shown.mine ?? {};
  const event = {
    id: newId(), kind, slide_id: shown.slide_id, annotator: session.person.name, base: before.head ?? null,
    seconds: Math.round((performance.now() - shownAt) / 100) / 10, ...more,
  };
  if (kind === "undone") shown.mine = { ...more.restores, head: event.id };
  else shown.mine = { head: event.id, event: event.id, kind, scores: event.scores ?? {}, notes: event.notes ?? "" };
  delete event.restores;
  if (kind !== "undone") done.push({ event, before });
  storage.remove(draftKey(shown.slide_id));
  return event;
}

async function save(isComplete = false) {
  if (!shown) return;
  const { scores, notes } = form.values();
  const missing = form.missing();
  if (missing.length > 0 && !isComplete) {
    form.flag(missing);
    form.select(missing[0]);
    return;
  }
  if (Object.keys(scores).length === 0) {
    $("missing").textContent = "Nothing is rated; press s to skip the slide.";
    return;
  }
  const mine = shown.mine ?? {};
  const isRated = mine.kind === "rated" || mine.kind === "changed";
  if (isRated && notes === (mine.notes ?? "") && equal(scores, mine.scores ?? {})) {
    storage.remove(draftKey(shown.slide_id));
    next();
    return;
  }
  const event = act(isRated ? "changed" : "rated", { scores, notes, model_version: help?.model_version });
  const slide = shown;
  if (session.model_help && !help) {
    const answer = await answered(event);
    if (answer?.prediction && shown === slide) {
      showHelp(answer.prediction);
      return;
    }
    if (shown === slide) next();
    return;
  }
  outbox.add(event);
  next();
}

function equal(a, b) {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && a[key] === b[key]);
}

/** Sends an event and waits a little for the server's answer; offline the page goes on without it. */
function answered(event) {
  return new Promise((resolve) => {
    waiting.set(event.id, resolve);
    setTimeout(() => resolve(null), 2500);
    outbox.add(event);
  });
}

function next() {
  deck.advance();
  render();
}

function skip() {
  if (!shown) return;
  outbox.add(act("skipped", { notes: form.values().notes }));
  deck.skipped = [...(deck.skipped ?? []), shown.slide_id];
  next();
}

/** Takes back the last rating or skip, also one of an earlier visit, and shows its slide with what had been given. */
async function undo() {
  let last = done.pop();
  if (!last) {
    const id = deck.behind.at(-1);
    if (id === undefined) return;
    const record = await deck.record(id).catch(() => null);
    if (!record?.mine?.event) return;
    last = { event: { id: record.mine.event, slide_id: id, kind: record.mine.kind, ...record.mine }, before: {} };
    last.event.id = record.mine.event;
  }
  const record = await deck.record(last.event.slide_id);
  if (shown) keepDraft();
  shown = record;
  shownAt = performance.now();
  const given = { scores: last.event.scores ?? {}, notes: last.event.notes ?? "" };
  outbox.add(act("undone", { undoes: last.event.id, restores: last.before }));
  if (last.event.kind !== "skipped") storage.set(draftKey(record.slide_id), JSON.stringify(given));
  deck.visit(record.slide_id);
  await render();
  say("Taken back");
}

function back() {
  if (deck.back()) render();
}

// ---- the model's scores, after the rater has committed -------------------------------------------------------------------

function showHelp(prediction) {
  help = prediction;
  const rows = form.criteria.filter((criterion) => criterion.key in prediction.expected)
    .map((criterion) => h("li", {}, `${criterion.name}: ${prediction.expected[criterion.key].toFixed(1)}`));
  const correct = h("button", { type: "button" }, "Send my scores as a correction");
  const slide = shown;
  const correctionId = newId();
  correct.addEventListener("click", async () => {
    try {
      await api("POST", "/corrections", { id: correctionId, slide_id: slide.slide_id, notes: form.values().notes });
      correct.replaceWith(h("p", {}, "The correction was kept."));
    } catch (failure) {
      say(failure.message, true);
    }
  });
  $("model").replaceChildren(
    h("p", {}, `The model (${prediction.model_version}) says:`), h("ul", {}, ...rows), correct,
    h("p", {}, "Change your scores if it has convinced you, or go on with Enter."));
  $("model").hidden = false;
  $("anchors").hidden = true;
  $("rating").scrollTop = 0;
  outbox.add({
    id: newId(), kind: "model_seen", slide_id: shown.slide_id, annotator: session.person.name,
    model_version: prediction.model_version,
  });
  $("save").focus({ preventScroll: true });
}

// ---- what the server says ------------------------------------------------------------------------------------------------

function saved(event, answer) {
  outbox.wasSaved = true;
  deck.setProgress(answer.progress);
  waiting.get(event.id)?.(answer);
  waiting.delete(event.id);
}

function refused(event, message) {
  waiting.get(event.id)?.(null);
  storage.set(`pq:refused:${event.id}`, JSON.stringify(event));
  say(`A rating was refused: ${message}. It is kept in this browser.`, true);
}

/** The slide was rated in another tab or browser. What is saved stays, unless the rater decides otherwise. */
function conflict(event, current) {
  waiting.get(event.id)?.(null);
  const record = deck.records.get(event.slide_id);
  if (record) record.mine = current;
  const same = event.kind !== "undone" && equal(event.scores ?? {}, current.scores ?? {}) && (event.notes ?? "") === (current.notes ?? "");
  if (same || event.kind === "undone") {
    if (shown?.slide_id === event.slide_id) render();
    return;
  }
  const known = conflicts.find((other) => other.event.slide_id === event.slide_id);
  if (known) Object.assign(known, { event, current });
  else conflicts.push({ event, current });
  showConflict();
}

function showConflict() {
  const dialog = $("conflict");
  if (conflicts.length === 0 || dialog.open) return;
  const { event, current } = conflicts[0];
  const record = deck.records.get(event.slide_id);
  $("conflict-text").textContent =
    `${record ? `${record.deck_id}, slide ${record.number}` : event.slide_id}: what is saved came from another tab or browser.`;
  const text = (side, key) => (side.kind === "skipped" ? "skipped" : scoreText(side.scores?.[key]));
  $("conflict-table").replaceChildren(
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Criterion"), h("th", { scope: "col" }, "Saved"), h("th", { scope: "col" }, "This page"))),
    h("tbody", {}, ...form.criteria.map((criterion) => h("tr", {},
      h("th", { scope: "row" }, criterion.name), h("td", {}, text(current, criterion.key)), h("td", {}, text(event, criterion.key))))));
  dialog.showModal();
}

function settleConflict(useMine) {
  const { event, current } = conflicts.shift();
  $("conflict").close();
  if (useMine) {
    const again = { ...event, id: newId(), kind: event.kind === "skipped" ? "skipped" : "changed", base: current.head };
    const record = deck.records.get(event.slide_id);
    if (record) record.mine = { head: again.id, event: again.id, kind: again.kind, scores: again.scores ?? {}, notes: again.notes ?? "" };
    outbox.add(again);
  }
  if (shown?.slide_id === event.slide_id) render();
  showConflict();
}

$("keep-saved").addEventListener("click", () => settleConflict(false));
$("use-mine").addEventListener("click", () => settleConflict(true));
$("conflict").addEventListener("cancel", (event) => event.preventDefault());

// ---- help and keys -------------------------------------------------------------------------------------------------------

function fillHelp() {
  const keys = [
    ...form.criteria.map((criterion, index) => [form.letters[index], `choose ${criterion.name}`]),
    ["↑ ↓", "choose the criterion before or after"], ["1 – 5", "rate it and move on"], ["n", "not applicable"],
    ["Enter", "save and go to the next slide"], ["Shift+Enter", "save although something is missing"],
    ["u", "undo the last rating or skip"], ["b", "back to the slide before"], ["s", "skip the slide"], ["t", "write notes (Esc leaves them)"],
    ["z + −", "zoom"], ["g", "what the scores mean"], ["?", "these keys"],
  ];
  $("key-list").replaceChildren(...keys.flatMap(([key, meaning]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, meaning)]));
  $("guide-body").replaceChildren(...form.criteria.map((criterion) => h("section", {},
    h("h3", {}, criterion.name), h("p", {}, criterion.question ?? ""),
    h("ul", {}, ...anchors(criterion).map((pair) => h("li", {}, pair.join(": ")))))));
  $("letter-keys").checked = storage.get("pq:letter-keys") !== "off";
}

$("letter-keys").addEventListener("change", () => storage.set("pq:letter-keys", $("letter-keys").checked ? "on" : "off"));
$("open-help").addEventListener("click", () => $("help").showModal());
$("open-guide").addEventListener("click", () => $("guide").showModal());
$("rating").addEventListener("submit", (event) => { event.preventDefault(); save(); });
$("save-anyway").addEventListener("click", () => save(true));
$("back").addEventListener("click", back);
$("skip").addEventListener("click", skip);
$("undo").addEventListener("click", undo);
$("done-back").addEventListener("click", back);
$("look-again").addEventListener("click", () => deck.refill().then(render, (failure) => say(failure.message, true)));
$("done-skipped").addEventListener("click", () => {
  const id = deck.skipped.shift();
  if (deck.visit(id)) render();
});
$("sign-out").addEventListener("click", async () => {
  await api("DELETE", "/session").catch(() => {});
  location.assign("/");
});

const KEYS = {
  n: () => form.give("na"), u: undo, b: back, s: skip, g: () => $("guide").showModal(), t: () => $("notes").focus(),
  z: () => viewer.toggle(), "+": () => viewer.zoom(1.5), "-": () => viewer.zoom(1 / 1.5), "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (!form || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  const inText = event.target.matches("textarea, input:not([type=radio])");
  if (event.key === "Escape" && inText) {
    form.select(form.active);
    return;
  }
  if (event.key === "Enter" && (event.shiftKey || (!inText && !event.target.matches("button, a"))) && !$("rate").hidden) {
    event.preventDefault();
    save(event.shiftKey && !inText);
    return;
  }
  if (inText || $("rate").hidden) {
    if (!inText && $("sign-in").hidden && ["u", "b"].includes(event.key)) KEYS[event.key]();
    return;
  }
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    form.select(form.active + (event.key === "ArrowDown" ? 1 : -1));
    return;
  }
  if (storage.get("pq:letter-keys") === "off") return;
  const key = event.key.toLowerCase();
  const criterion = form.letters.indexOf(key);
  if (criterion >= 0) form.select(criterion);
  else if (key >= "1" && key <= "5" && key.length === 1) form.give(key);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
});
