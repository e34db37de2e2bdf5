// Disputed slides: the ratings side by side, and the lead's final word with its reason. The ratings themselves stay.

import { api, pictureAddress } from "./api.js";
import { $, h, newId, scoreText } from "./dom.js";

/** So many more are shown at a time. */
const PART = 10;
const view = { state: "open", count: PART };

/** Shows the disputes of the chosen state; `counts` says how many there are of each. */
export async function showDisputes(box, counts, session, refresh, told) {
  const { total, doubtful, slides } = await api("GET", `/disputes?state=${view.state}&from=0&count=${Math.min(view.count, 100)}`);
  while (slides.length < Math.min(view.count, total)) {
    const rest = await api("GET", `/disputes?state=${view.state}&from=${slides.length}&count=${Math.min(100, view.count - slides.length)}`);
    if (rest.slides.length === 0) break;
    slides.push(...rest.slides);
  }
  const again = () => showDisputes(box, counts, session, refresh, told).catch(told);
  const choice = (state, text) => {
    const button = h("button", { type: "button", "aria-pressed": String(view.state === state), "data-state": state }, text);
    button.addEventListener("click", async () => {
      Object.assign(view, { state, count: PART });
      await again();
      box.querySelector(`[data-state="${state}"]`).focus();
    });
    return button;
  };
  const bar = h("div", { className: "dispute-bar", role: "group", "aria-label": "Which disputes" },
    choice("open", `Open (${counts.open})`), choice("decided", `Decided (${counts.decided})`), choice("doubtful", `Doubtful (${doubtful ?? "?"})`));
  const none = {
    open: "Nobody disagrees by two points or more on a slide that is not decided.",
    decided: "No lead has decided a dispute yet.",
    doubtful: "No rating is doubtful. pq-validate lists those that a model would not have expected.",
  }[view.state];
  const more = h("button", { type: "button", hidden: slides.length >= total }, `Show more (${total - slides.length} left)`);
  more.addEventListener("click", async () => {
    const first = slides.length;
    view.count += 5 * PART;
    await again();
    box.querySelectorAll(".dispute")[first]?.querySelector("select")?.focus();
  });
  box.replaceChildren(bar, ...(slides.length === 0 ? [h("p", {}, none)] : slides.map((slide) => dispute(slide, session, refresh, told))), more);
}

/** Whether somebody is deciding just now: what they have chosen must not be drawn over. */
export function isDeciding() {
  return $("disputed").contains(document.activeElement) && document.activeElement.matches("select, input");
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
    src: pictureAddress(slide.slide_id), loading: "lazy", alt: `Slide ${slide.number} of ${slide.deck}`,
  });
  const name = slide.number > 0 ? `${slide.deck}, slide ${slide.number}` : `${slide.deck} (no longer collected)`;
  const box = h("article", { className: "dispute" }, image, h("div", {},
    h("h3", {}, name, h("span", {}, standing(slide, criteria))),
    h("div", { className: "table-box", tabIndex: 0, role: "region", "aria-label": `Ratings of ${name}` },
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Criterion"), ...heads, h("th", { scope: "col" }, "Final"))), h("tbody", {}, ...rows))),
    notes.length > 0 ? h("ul", {}, ...notes) : null,
    form(slide, session, refresh, told)));
  return box;
}

/** What the slide is shown for. What the model would have said is not told: it may be the model that is wrong. */
function standing(slide, criteria) {
  if (slide.doubted.length > 0) {
    const names = criteria.filter((criterion) => slide.doubted.includes(criterion.key)).map((criterion) => criterion.name);
    return `look again at ${names.join(", ")}`;
  }
  return slide.adjudication ? `decided by ${slide.adjudication.annotator}` : `${slide.spread} points apart`;
}

function finalScore(slide, criterion) {
  // What is not set stays as the raters have it.
  const median = slide.median[criterion.key];
  const stays = median === undefined ? "–" : `– (${scoreText(median)} stays)`;
  const options = [["", stays], ["1", "1"], ["2", "2"], ["3", "3"], ["4", "4"], ["5", "5"], ["na", "n/a"]];
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
