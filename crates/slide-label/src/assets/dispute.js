// Disputed slides: the ratings side by side, and the lead's final word with its reason. The ratings themselves stay.

import { api } from "./api.js";
import { h, newId, scoreText } from "./dom.js";

/** So many are shown at first. */
const FIRST = 10;
let shownCount = FIRST;

export function disputes(report, session, refresh, told) {
  if (report.disputed.length === 0) return [h("p", {}, "Nobody disagrees by two points or more.")];
  const all = report.disputed.map((slide) => dispute(slide, session, refresh, told));
  const hide = () => all.forEach((box, index) => { box.hidden = index >= shownCount; });
  hide();
  const more = h("button", { type: "button", hidden: all.length <= shownCount }, `Show all ${all.length}`);
  more.addEventListener("click", () => { shownCount = Infinity; hide(); more.hidden = true; });
  return [...all, more];
}

function dispute(slide, session, refresh, told) {
  const { criteria } = session.rubric;
  const heads = slide.ratings.map((rating) => h("th", { scope: "col" }, rating.annotator));
  const rows = criteria.map((criterion) => {
    const scores = slide.ratings.map((rating) => rating.scores?.[criterion.key]);
    const numbers = scores.filter((score) => typeof score === "number");
    const isApart = Math.max(...numbers) - Math.min(...numbers) >= 2 || (numbers.length > 0 && scores.includes(null));
    return h("tr", {}, h("th", { scope: "row" }, criterion.name),
      ...scores.map((score) => h("td", { className: isApart ? "apart" : "" }, h("b", {}, scoreText(score)))),
      h("td", {}, finalScore(slide, criterion)));
  });
  const notes = slide.ratings.filter((rating) => rating.notes).map((rating) => h("li", {}, `${rating.annotator}: ${rating.notes}`));
  const image = h("img", {
    src: `/api/slides/${encodeURIComponent(slide.slide_id)}/image`, loading: "lazy", alt: `Slide ${slide.number} of ${slide.deck_id}`,
  });
  const name = `${slide.deck_id}, slide ${slide.number}`;
  const box = h("article", { className: "dispute" }, image, h("div", {},
    h("h3", {}, name, h("span", {}, slide.adjudication ? `decided by ${slide.adjudication.annotator}` : `${slide.spread} points apart`)),
    h("div", { className: "table-box", tabIndex: 0, role: "region", "aria-label": `Ratings of ${name}` },
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Criterion"), ...heads, h("th", { scope: "col" }, "Final"))), h("tbody", {}, ...rows))),
    notes.length > 0 ? h("ul", {}, ...notes) : null,
    form(slide, session, refresh, told)));
  return box;
}

function finalScore(slide, criterion) {
  const options = [["", "–"], ["1", "1"], ["2", "2"], ["3", "3"], ["4", "4"], ["5", "5"], ["na", "n/a"]];
  const decided = slide.adjudication?.scores?.[criterion.key];
  const value = decided === undefined ? "" : decided === null ? "na" : String(decided);
  return h("select", { name: criterion.key, "aria-label": `Final score of ${criterion.name}` },
    ...options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
}

function form(slide, session, refresh, told) {
  const reason = h("input", { required: true, maxLength: 10000, value: slide.adjudication?.notes ?? "", autocomplete: "off" });
  const element = h("form", {}, h("label", {}, "Reason", reason),
    h("button", { className: "primary" }, slide.adjudication ? "Change the final scores" : "Set the final scores"));
  if (slide.adjudication) {
    const undo = h("button", { type: "button" }, "Take the final scores back");
    undo.addEventListener("click", () => send({ kind: "undone", undoes: slide.adjudication.id }));
    element.append(undo);
  }
  const send = async (event) => {
    try {
      await api("POST", "/events", {
        id: newId(), slide_id: slide.slide_id, annotator: session.person.name, base: slide.adjudication_head, ...event,
      });
      document.activeElement?.blur();
      await refresh();
    } catch (failure) {
      told(failure);
    }
  };
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    const scores = {};
    for (const select of element.closest(".dispute").querySelectorAll("td select")) {
      if (select.value) scores[select.name] = select.value === "na" ? null : Number(select.value);
    }
    if (Object.keys(scores).length === 0) told({ message: "Choose at least one final score." });
    else send({ kind: "adjudicated", scores, notes: reason.value });
  });
  return element;
}
