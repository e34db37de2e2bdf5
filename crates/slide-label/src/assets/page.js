// What the modules of the labelling page share.

import { $ } from "./dom.js";

export const page = {
  session: null, // who rates, by which rubric
  deck: null,
  form: null,
  outbox: null,
  viewer: null,
  shown: null, // the record of the slide on screen
  help: null, // the model's scores on screen, after a commit
  isRating: false, // whether the first slides have come
  remark: "", // what was just done, said together with the next state
};

export const VIEWS = ["sign-in", "rate", "waiting", "done"];

/** Says one thing in the bar; `kind` is "offline" for what must not be overlooked, "saved" where all is well. */
export function say(text, kind = "") {
  const status = $("status");
  if (status.textContent !== text) status.textContent = text;
  status.className = `status ${kind}`;
}

/** How far the person is, and what is on its way. */
export function showProgress() {
  const { outbox, deck } = page;
  const unsent = outbox?.pending().length ?? 0;
  const progress = deck?.progress;
  if (progress) {
    const all = progress.rated + progress.open;
    $("progress-bar").max = Math.max(1, all);
    $("progress-bar").value = progress.rated;
    $("progress-text").textContent = `${progress.rated} of ${all}${progress.skipped ? ` · ${progress.skipped} skipped` : ""}`;
  }
  const refused = outbox?.refused().length ?? 0;
  $("open-refused").hidden = refused === 0;
  $("open-refused").textContent = `${refused} not taken`;
  const ratings = `${unsent} ${unsent === 1 ? "rating" : "ratings"}`;
  if (outbox?.trouble && unsent > 0) say(`Not saved yet (${outbox.trouble}): ${ratings} kept in this browser`, "offline");
  else if (outbox?.isOffline && unsent > 0) say(`Offline: ${ratings} kept in this browser, sent when the server is back`, "offline");
  else if (outbox?.isOffline) say("Offline: what you rate is kept in this browser", "offline");
  else if (unsent > 0) say(`Saving ${ratings} …`);
  else if (refused > 0) say(`${refused} ${refused === 1 ? "rating was" : "ratings were"} not taken; all others are saved`, "offline");
  else if (outbox?.wasSaved) say(page.remark ? `${page.remark}; all saved` : "All saved", "saved");
  else if (page.remark) say(page.remark);
}

/** Says what was done, until the next thing is. */
export function remark(text) {
  page.remark = text;
  showProgress();
}
