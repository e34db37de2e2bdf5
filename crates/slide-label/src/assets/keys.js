// Keys, and the two dialogs that explain them and the rubric.

import { $, h, storage } from "./dom.js";
import { anchors } from "./form.js";
import { page, say } from "./page.js";
import { back, forward, save, skip, skipRated, undo, visitSkipped } from "./rater.js";

const KEYS = {
  n: () => page.form.give("na"), u: undo, b: back, f: forward, s: skip, g: () => $("guide").showModal(), t: () => $("notes").focus(),
  z: () => page.viewer.toggle(), "+": () => page.viewer.zoom(1.5), "-": () => page.viewer.zoom(1 / 1.5), "?": () => $("help").showModal(),
};

export function fillHelp() {
  const { form } = page;
  const keys = [
    ...form.criteria.map((criterion, index) => [form.letters[index], criterion.name]),
    ["↑ ↓", "criterion before or after"], ["1 – 5", "rate it and move on"], ["n", "not applicable"],
    ["Enter", "save and go on"], ["Shift Enter", "save although something is missing"],
    ["u", "undo the last rating or skip"], ["b", "back to the slide before"],
    ["f", "forward again, changing nothing"], ["s", "skip the slide"],
    ["t", "write notes (Esc leaves them)"], ["z + −", "zoom; drag to move"], ["g", "what the scores mean"], ["?", "these keys"],
  ];
  $("key-list").replaceChildren(...keys.flatMap(([key, meaning]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, meaning)]));
  $("guide-body").replaceChildren(...form.criteria.map((criterion) => h("section", {},
    h("h3", {}, criterion.name), h("p", {}, criterion.question ?? ""),
    h("ul", {}, ...anchors(criterion).map(([score, text]) => h("li", {}, h("b", {}, String(score)), h("span", {}, text)))))));
  $("letter-keys").checked = storage.get("pq:letter-keys") !== "off";
}

$("letter-keys").addEventListener("change", () => storage.set("pq:letter-keys", $("letter-keys").checked ? "on" : "off"));
$("open-help").addEventListener("click", () => $("help").showModal());
$("open-guide").addEventListener("click", () => $("guide").showModal());
$("rating").addEventListener("submit", (event) => { event.preventDefault(); save(); });
$("save-anyway").addEventListener("click", () => save(true));
$("back").addEventListener("click", back);
$("forward").addEventListener("click", forward);
$("skip").addEventListener("click", skip);
$("skip-rated").addEventListener("click", skipRated);
$("undo").addEventListener("click", undo);
$("done-back").addEventListener("click", back);
$("done-skipped").addEventListener("click", visitSkipped);
$("look-again").addEventListener("click", () => page.deck.refill().catch((failure) => say(failure.message, "offline")));

/** Keys that work whatever the settings: save, leave the notes, move between criteria. Says whether the key was one. */
function steer(event, isInText) {
  const { form } = page;
  const isRating = !$("rate").hidden;
  if (event.key === "Escape" && isInText) {
    form.select(form.active);
  } else if (event.key === "Enter" && isRating && (event.shiftKey || (!isInText && !event.target.matches("button, a, summary")))) {
    save(event.shiftKey && !isInText);
  } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && isRating && !isInText) {
    form.select(form.active + (event.key === "ArrowDown" ? 1 : -1));
  } else {
    return false;
  }
  return true;
}

/**
 * What a key means. Digits go by their place: a French keyboard gives signs there unless Shift is held. Letters go by what they
 * give; where that is a letter of another alphabet, by their place too.
 */
function meaning(event) {
  const digit = /^(?:Digit|Numpad)([1-5])$/.exec(event.code)?.[1];
  if (digit && (!event.shiftKey || event.key === digit)) return digit;
  const key = event.key.toLowerCase();
  const place = /^Key([A-Z])$/.exec(event.code)?.[1].toLowerCase();
  return place && key.length === 1 && key > "\u007f" ? place : key;
}

/** Letters, digits and signs. Says whether the key was one. */
function type(event) {
  const { form } = page;
  const key = meaning(event);
  const criterion = form.letters.indexOf(key);
  if ($("rate").hidden) {
    if (!$("sign-in").hidden || !["u", "b"].includes(key)) return false;
    KEYS[key]();
  } else if (criterion >= 0) form.select(criterion);
  else if (/^[1-5]$/.test(key)) form.give(key);
  else if (KEYS[key]) KEYS[key]();
  else return false;
  return true;
}

/** A key that is held down must not rate, skip or undo one slide after another: beyond writing, only moving repeats. */
function isHeld(event, isInText) {
  return event.repeat && !isInText && !["ArrowDown", "ArrowUp", "Tab", "PageDown", "PageUp"].includes(event.key);
}

document.addEventListener("keydown", (event) => {
  if (!page.form || event.isComposing || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  const isInText = event.target.matches("textarea, input:not([type=radio])");
  if (isHeld(event, isInText)) {
    event.preventDefault();
    return;
  }
  const isTyping = !isInText && storage.get("pq:letter-keys") !== "off";
  if (steer(event, isInText) || (isTyping && type(event))) event.preventDefault();
});
