// The rating of one slide: a group of radio buttons for each criterion. Nothing is preselected.

import { $, h } from "./dom.js";

const RESERVED = new Set(["n", "u", "b", "f", "s", "g", "t", "z"]);

/** Gives each criterion a letter of its name that no other key uses. */
export function letters(criteria) {
  const taken = new Set(RESERVED);
  return criteria.map((criterion) => {
    const letter = [...(criterion.name.toLowerCase() + "abcdefghijklmnopqrstuvwxyz")]
      .find((candidate) => candidate >= "a" && candidate <= "z" && !taken.has(candidate));
    taken.add(letter);
    return letter;
  });
}

/** The scores whose meaning the rubric gives, with it. */
export function anchors(criterion) {
  return [1, 3, 5].map((score, place) => [score, criterion.anchors?.[place]]).filter(([, text]) => text);
}

/** What was shown last because it has the focus, until the person scrolls on their own. */
let followed = null;

/** Scrolls as little as shows it, clear of what is pinned above and below (`scroll-margin` in rate.css has the sizes). */
function reveal(element) {
  measurePinned();
  element.scrollIntoView({ block: "nearest" });
  followed = element;
}

export function focusSave() {
  $("save").focus({ preventScroll: true });
  reveal($("save"));
}

/** Notes for the style sheet how much of the window the pinned slide and buttons take, as they are now. */
function measurePinned() {
  const root = document.documentElement;
  const [stage, actions] = [document.querySelector(".stage"), document.querySelector(".actions")];
  const isAbove = getComputedStyle(stage).position === "sticky" && getComputedStyle($("rate")).display === "block";
  const isBelow = getComputedStyle(actions).position === "fixed";
  root.style.setProperty("--pinned-top", `${isAbove ? stage.offsetHeight : 0}px`);
  root.style.setProperty("--pinned-bottom", `${isBelow ? actions.offsetHeight : 0}px`);
}

/**
 * Keeps what has the focus clear of what is pinned, also when a line that comes or goes (what is saved, what is
 * missing) moves the page under it. An observer is told before the frame is painted, so nobody sees it hidden.
 */
export function watchPinned() {
  const settle = () => {
    measurePinned();
    if (followed?.contains(document.activeElement)) reveal(followed);
  };
  const observer = new ResizeObserver(settle);
  for (const element of document.querySelectorAll(".bar, .stage, .actions, #rating")) observer.observe(element);
  window.addEventListener("resize", settle);
  const letGo = () => { followed = null; };
  for (const scrolling of ["wheel", "touchmove", "pointerdown"]) window.addEventListener(scrolling, letGo, { passive: true });
  window.addEventListener("keydown", ({ key }) => {
    if (["PageUp", "PageDown", "Home", "End"].includes(key)) letGo();
  });
  // Where the focus comes by Tab, browsers scroll only what lies outside the window, not what lies behind something pinned.
  $("rating").addEventListener("focusin", ({ target }) => {
    if (target.matches(":focus-visible")) reveal(target.closest(".criterion") ?? target);
  });
}

export class RatingForm {
  constructor(rubric, changed) {
    this.criteria = rubric.criteria;
    this.letters = letters(this.criteria);
    this.changed = changed;
    this.active = 0;
    this.groups = this.criteria.map((criterion, index) => this.group(criterion, index));
    $("criteria").replaceChildren(...this.groups.map((group) => group.box));
    $("notes").addEventListener("input", () => this.changed());
  }

  group(criterion, index) {
    const option = (value, text, label) => {
      const input = h("input", { type: "radio", name: criterion.key, value, "aria-label": label });
      input.addEventListener("change", () => { this.refresh(); this.changed(); });
      return h("label", { className: value === "na" ? "score na" : "score" }, input, h("span", { "aria-hidden": "true" }, text));
    };
    const meaning = (score) => anchors(criterion).find(([value]) => value === score);
    const named = (score) => (meaning(score) ? meaning(score).join(": ") : String(score));
    const state = h("span", { className: "state" });
    const name = h("span", { className: "criterion-name", id: `name-${criterion.key}` },
      h("span", {}, criterion.name, h("kbd", { "aria-hidden": "true" }, this.letters[index])), state);
    const box = h("div", { id: `criterion-${criterion.key}`, className: "criterion", role: "radiogroup", "aria-labelledby": name.id },
      name,
      h("div", { className: "scores" },
        ...[1, 2, 3, 4, 5].map((score) => option(String(score), String(score), named(score))),
        option("na", "n/a", "not applicable")));
    box.addEventListener("focusin", () => this.activate(index));
    return { box, state, inputs: [...box.querySelectorAll("input")] };
  }

  activate(index) {
    this.active = index;
    this.groups.forEach((group, at) => group.box.classList.toggle("active", at === index));
    const criterion = this.criteria[index];
    $("anchors").replaceChildren(h("p", {}, criterion.question || criterion.name),
      h("ul", {}, ...anchors(criterion).map(([score, text]) => h("li", {}, h("b", {}, String(score)), h("span", {}, text)))));
  }

  /** Moves to a criterion and puts the focus there: on its score, or where it has none on the first. */
  select(index) {
    const at = Math.max(0, Math.min(index, this.groups.length - 1));
    this.activate(at);
    const { inputs, box } = this.groups[at];
    (inputs.find((input) => input.checked) ?? inputs[0]).focus({ preventScroll: true });
    reveal(box);
  }

  /** Scores the chosen criterion and moves on to the next that has none, or to the save button. */
  give(value) {
    const input = this.groups[this.active].inputs.find((candidate) => candidate.value === value);
    input.checked = true;
    this.refresh();
    this.changed();
    const open = this.missing();
    const after = open.find((index) => index > this.active) ?? open[0];
    if (after === undefined) focusSave();
    else this.select(after);
  }

  score(index) {
    const value = this.groups[index].inputs.find((input) => input.checked)?.value;
    if (value === undefined) return undefined;
    return value === "na" ? null : Number(value);
  }

  values() {
    const scores = {};
    this.criteria.forEach((criterion, index) => {
      const score = this.score(index);
      if (score !== undefined) scores[criterion.key] = score;
    });
    return { scores, notes: $("notes").value };
  }

  fill({ scores = {}, notes = "" } = {}) {
    this.criteria.forEach((criterion, index) => {
      const score = scores?.[criterion.key];
      const value = score === undefined ? undefined : score === null ? "na" : String(score);
      for (const input of this.groups[index].inputs) input.checked = input.value === value;
    });
    $("notes").value = notes ?? "";
    this.flag([]);
    this.refresh();
  }

  missing() {
    return this.groups.map((_, index) => index).filter((index) => this.score(index) === undefined);
  }

  /** Marks criteria that were forgotten, or with none takes the marks away. */
  flag(indices) {
    this.groups.forEach((group, index) => group.box.classList.toggle("flagged", indices.includes(index)));
    $("save-anyway").hidden = indices.length === 0;
    $("missing").classList.toggle("flagged", indices.length > 0);
    this.refresh();
  }

  /** Says what is still to rate. */
  refresh() {
    const open = this.missing();
    this.groups.forEach((group, index) => {
      const isFlagged = group.box.classList.contains("flagged") && open.includes(index);
      group.box.classList.toggle("flagged", isFlagged);
      group.state.textContent = isFlagged ? "not rated" : "";
    });
    const isUntouched = open.length === this.groups.length && $("save-anyway").hidden;
    const names = open.map((index) => this.criteria[index].name).join(", ");
    $("missing").textContent = open.length === 0 ? "" : isUntouched ? "Nothing is rated yet" : `Still to rate: ${names}`;
    if (open.length === 0 && !$("save-anyway").hidden) this.flag([]);
  }
}
