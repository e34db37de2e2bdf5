// The slide on screen: shown, rated, skipped, taken back.

import { $, newId, show, storage } from "./dom.js";
import { Failure } from "./api.js";
import { hideHelp, showHelp } from "./help.js";
import { page, remark, say, showProgress, VIEWS } from "./page.js";

const ANSWER_MS = 2500;
const seconds = stopwatch();
const done = []; // what this page did, for undo: { event, before }
const waiting = new Map(); // event id → what to do with the server's answer

/** Counts the seconds that the page could be seen since it was set to zero: a page left open in the background is not being read. */
function stopwatch() {
  let [counted, from] = [0, performance.now()];
  const stop = () => { if (from !== null) counted += performance.now() - from; from = null; };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else from ??= performance.now();
  });
  return {
    restart() { [counted, from] = [0, document.hidden ? null : performance.now()]; },
    read() { return Math.round((counted + (from === null ? 0 : performance.now() - from)) / 100) / 10; },
  };
}

export async function render() {
  const { deck, form, viewer } = page;
  hideHelp();
  if (deck.current === undefined) deck.visit(deck.openBehind()[0]);
  const id = deck.current;
  if (id === undefined) {
    page.shown = null;
    if (deck.isExhausted || page.outbox.isOffline) showDone();
    else showWaiting();
    return;
  }
  try {
    page.shown = await deck.record(id);
  } catch (failure) {
    say(failure.message, "offline");
    return;
  }
  const { shown } = page;
  show("rate", VIEWS);
  seconds.restart();
  const mine = shown.mine ?? {};
  form.fill(draft(id) ?? (mine.kind === "skipped" ? {} : { scores: mine.scores ?? {}, notes: mine.notes ?? "" }));
  const stateOf = { rated: "rated", changed: "rated", skipped: "skipped" }[mine.kind];
  $("slide-name").textContent = `${nameOf(shown)}${stateOf ? ` · you ${stateOf} it` : ""}`;
  $("slide-name").dataset.slideId = shown.slide_id;
  $("spoken").textContent = `${nameOf(shown)}${stateOf ? `, you ${stateOf} it` : ""}`;
  $("back").disabled = deck.place === 0;
  $("forward").disabled = deck.place >= deck.behind.length;
  form.select(form.missing()[0] ?? 0);
  showProgress();
  viewer.fit();
  await showPicture(id);
}

/** As people know it: the file or folder, and the place in it. */
const nameOf = (record) => `${record.deck ?? record.deck_id}, slide ${record.number}`;

async function showPicture(id) {
  const { deck, shown } = page;
  const [image, text] = [$("picture"), $("picture-text")];
  const alt = `Slide ${shown.number} of ${shown.deck ?? shown.deck_id}`;
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

/** The next slide is on its way, or will be asked for until it is. */
function showWaiting() {
  show("waiting", VIEWS);
  showProgress();
  page.deck.keepFilled();
}

function showDone() {
  show("done", VIEWS);
  tellDone();
  showProgress();
  $("look-again").focus();
}

/** Says how far the person is, also when the last answers arrive. */
export function tellDone() {
  const { deck, outbox } = page;
  if (!deck || $("done").hidden) return;
  // The server is back, and has not been asked yet whether more is waiting: that is no end.
  if (deck.current === undefined && !deck.isExhausted && !outbox.isOffline) {
    showWaiting();
    return;
  }
  const { rated = 0, skipped = 0, slides = 0 } = deck.progress ?? {};
  const rest = slides - rated - skipped - outbox.pending().length;
  const mine = `You have rated ${rated} of ${slides} slides${skipped > 0 ? ` and skipped ${skipped}` : ""}.`;
  const others = rest > 0 ? " The others have raters enough, or are with somebody else." : "";
  $("done-text").textContent = outbox.isOffline
    ? "You have rated every slide that this browser has loaded. More come when the server is back."
    : `${mine}${others} When there is more to rate, this page goes on by itself.`;
  $("done-skipped").hidden = deck.skipped.length === 0;
  $("done-back").hidden = deck.behind.length === 0;
}

// ---- drafts: a half-rated slide survives a reload ------------------------------------------------------------------------

const draftKey = (id) => `pq:draft:${page.session.person.name}:${id}`;

export function keepDraft() {
  if (page.shown) storage.set(draftKey(page.shown.slide_id), JSON.stringify(page.form.values()));
}

/** Whether the person has begun to rate a slide. */
export function isBegun(id) {
  return storage.get(draftKey(id)) !== null;
}

function draft(id) {
  try { return JSON.parse(storage.get(draftKey(id))); } catch { return null; }
}

// ---- acting --------------------------------------------------------------------------------------------------------------

/** Makes an event about the slide on screen, which takes it for granted from now on. */
function act(kind, more = {}) {
  const { shown, deck } = page;
  const { restores, ...rest } = more;
  const before = shown.mine ?? {};
  const event = {
    id: newId(), kind, slide_id: shown.slide_id, annotator: page.session.person.name, base: before.head ?? null,
    seconds: seconds.read(), ...rest,
  };
  page.remark = "";
  deck.note(event, restores);
  if (kind !== "undone") done.push({ event, before });
  storage.remove(draftKey(shown.slide_id));
  return event;
}

export async function save(isComplete = false) {
  const { shown, form, outbox, help } = page;
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
  if (page.session.model_help && !help && !outbox.isOffline) {
    const answer = await answerTo(event);
    if (page.shown !== shown) return;
    if (answer?.prediction) showHelp(answer.prediction);
    else next();
    return;
  }
  outbox.add(event);
  next();
}

export function equal(a, b) {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && a[key] === b[key]);
}

/** Sends an event and waits a little for the server's answer; offline the page goes on without it. */
function answerTo(event) {
  return new Promise((resolve) => {
    waiting.set(event.id, resolve);
    setTimeout(() => resolve(null), ANSWER_MS);
    page.outbox.add(event);
  });
}

/** The server has answered an event, or (with null) did not take it. */
export function answered(event, answer) {
  waiting.get(event.id)?.(answer);
  waiting.delete(event.id);
}

function next() {
  page.deck.advance();
  render();
}

/** Passes the slide over. A rating that it has is not replaced by a skip without a question. */
export function skip() {
  if (!page.shown) return;
  if (["rated", "changed"].includes(page.shown.mine?.kind)) $("replace").showModal();
  else skipRated();
}

export function skipRated() {
  $("replace").close();
  page.outbox.add(act("skipped", { notes: page.form.values().notes }));
  next();
}

/** Takes back the last rating or skip, also one of an earlier visit, and shows its slide with what had been given. */
export async function undo() {
  const { deck, outbox } = page;
  const last = done.pop() ?? (await lastOfEarlierVisit());
  if (!last) return;
  const record = await deck.record(last.event.slide_id).catch(() => null);
  if (!record) return;
  if (page.shown) keepDraft();
  page.shown = record;
  seconds.restart();
  const given = { scores: last.event.scores ?? {}, notes: last.event.notes ?? "" };
  outbox.add(act("undone", { undoes: last.event.id, restores: last.before }));
  if (last.event.kind !== "skipped") storage.set(draftKey(record.slide_id), JSON.stringify(given));
  deck.visit(record.slide_id);
  await render();
  remark("Taken back");
}

async function lastOfEarlierVisit() {
  const { deck } = page;
  const id = deck.behind.at(-1);
  const record = id === undefined ? null : await deck.record(id).catch(() => null);
  if (!record?.mine?.event) return null;
  return { event: { ...record.mine, id: record.mine.event, slide_id: id }, before: {} };
}

export function back() {
  if (page.deck.back()) render();
}

export function forward() {
  if (page.deck.forward()) render();
}

export function visitSkipped() {
  if (page.deck.visitSkipped()) render();
}
