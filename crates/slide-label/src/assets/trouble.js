// What did not go as meant: a slide rated in two places, and ratings that the server did not take. Nothing vanishes without a word.

import { api } from "./api.js";
import { $, h, newId, scoreText } from "./dom.js";
import { page, say, showProgress } from "./page.js";
import { answered, equal, render } from "./rater.js";

const conflicts = [];

const nameOf = (slideId) => {
  const record = page.deck?.records.get(slideId);
  return record ? `${record.deck ?? record.deck_id}, slide ${record.number}` : slideId;
};

// ---- a stale tab ---------------------------------------------------------------------------------------------------------

/** The slide was rated in another tab or browser. What is saved stays, unless the rater decides otherwise. */
export function conflict(event, current) {
  answered(event, null);
  const record = page.deck.records.get(event.slide_id);
  if (record) record.mine = current;
  const isSame = equal(event.scores ?? {}, current.scores ?? {}) && (event.notes ?? "") === (current.notes ?? "");
  if (event.kind === "undone" || isSame) {
    if (page.shown?.slide_id === event.slide_id) render();
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
  $("conflict-text").textContent = `${nameOf(event.slide_id)}: what is saved came from another tab or browser.`;
  const text = (side, key) => (side.kind === "skipped" ? "skipped" : scoreText(side.scores?.[key]));
  const head = ["Criterion", "Saved", "This page"].map((name) => h("th", { scope: "col" }, name));
  const rows = page.form.criteria.map(({ key, name }) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, text(current, key)), h("td", {}, text(event, key))));
  $("conflict-table").replaceChildren(h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows));
  dialog.showModal();
}

function settleConflict(usesMine) {
  const { event, current } = conflicts.shift();
  $("conflict").close();
  if (usesMine) sendAgain(event, current);
  if (page.shown?.slide_id === event.slide_id) render();
  showConflict();
}

/** Sends a rating anew, after what the server holds of its slide. */
function sendAgain(event, current) {
  const isFirst = !["rated", "changed"].includes(current.kind);
  const kind = event.kind === "skipped" ? "skipped" : isFirst ? "rated" : "changed";
  const again = { ...event, id: newId(), kind, base: current.head };
  page.deck.note(again);
  page.outbox.add(again);
}

$("keep-saved").addEventListener("click", () => settleConflict(false));
$("use-mine").addEventListener("click", () => settleConflict(true));
$("conflict").addEventListener("cancel", (event) => event.preventDefault());

// ---- ratings that were refused -------------------------------------------------------------------------------------------

export function refused(event, message) {
  say(`A rating was not taken: ${message}`, "offline");
  page.outbox.keepRefused(event, message);
}

function showRefused() {
  const items = page.outbox.refused().map(([key, { event, message }]) => {
    const scores = page.form.criteria
      .filter((criterion) => event.scores && criterion.key in event.scores)
      .map((criterion) => `${criterion.name} ${scoreText(event.scores[criterion.key])}`).join(", ");
    const again = h("button", { type: "button" }, "Try again");
    again.addEventListener("click", () => tryAgain(key, event));
    const remove = h("button", { type: "button", className: "quiet" }, "Delete it");
    remove.addEventListener("click", () => { page.outbox.remove(key); showRefused(); });
    return h("li", {}, h("strong", {}, `${nameOf(event.slide_id)} (${event.kind})`), h("span", {}, scores),
      event.notes ? h("span", {}, `“${event.notes}”`) : null,
      h("span", { className: "why" }, message), h("div", { className: "choices" }, again, remove));
  });
  $("refused-list").replaceChildren(...items);
  if (items.length === 0) $("refused").close();
  else if (!$("refused").open) $("refused").showModal();
}

async function tryAgain(key, event) {
  try {
    const record = await api("GET", `/slides/${encodeURIComponent(event.slide_id)}`);
    page.outbox.remove(key);
    if (event.kind === "undone") page.outbox.add({ ...event, id: newId(), base: record.mine.head });
    else sendAgain(event, record.mine);
    await page.outbox.flush();
  } catch (failure) {
    page.outbox.keepRefused(event, failure.message);
  }
  showRefused();
  showProgress();
}

$("open-refused").addEventListener("click", showRefused);
$("refused-close").addEventListener("click", () => $("refused").close());
$("refused-download").addEventListener("click", () => {
  const lines = page.outbox.refused().map(([, kept]) => JSON.stringify(kept)).join("\n");
  const link = h("a", { href: URL.createObjectURL(new Blob([lines], { type: "application/x-ndjson" })), download: "not-taken.jsonl" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
