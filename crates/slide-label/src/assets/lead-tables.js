// The tables of the lead's page.

import { h } from "./dom.js";

const column = (text, isNumber) => h("th", { scope: "col", className: isNumber ? "number" : "" }, text);
const number = (...content) => h("td", { className: "number" }, ...content);
const fixed = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(0)} %`);

/** A value with its 95 % interval. */
function estimate({ value, low, high }, format) {
  const range = low === null || value === null ? null : h("span", { className: "range" }, ` ${format(low)} to ${format(high)}`);
  return number(format(value), range);
}

function table(caption, heads, rows) {
  return h("div", { className: "table-box", tabIndex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows)));
}

const figure = (value, text) => h("div", {}, h("b", {}, String(value)), h("span", {}, text));

export function progressTable(report) {
  const severities = new Map(report.agreement.raters.map((rater) => [rater.annotator, rater.severity]));
  const rows = report.people.map((person) => h("tr", {},
    h("th", { scope: "row" }, person.name), number(person.rated), number(person.skipped), number(person.open),
    number(person.median_seconds === null ? "–" : `${person.median_seconds.toFixed(0)} s`),
    number(signed(severities.get(person.name))),
    h("td", {}, person.last_at ? new Date(person.last_at).toLocaleString() : "–")));
  const heads = [column("Person"), column("Rated", true), column("Skipped", true), column("Open", true),
    column("Time a slide", true), column("Severity", true), column("Last rating")];
  const { shown, changed } = report.model_help;
  return [
    h("div", { className: "figures" },
      figure(`${report.complete} / ${report.slides}`, `slides rated by ${report.raters_per_slide} or more`),
      figure(report.agreement.ratings, "ratings"),
      figure(report.disputed.filter((slide) => !slide.adjudication).length, "disputes open"),
      figure(report.corrections, "corrections of the model"),
      shown > 0 ? figure(percent(changed / shown), `changed after the model was shown (${shown})`) : null),
    table("Severity is how many points a person scores below the others on the same slides.", heads, rows),
  ];
}

function signed(value) {
  if (value === undefined) return "–";
  const text = Math.abs(value).toFixed(2);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

export function agreementTable(report, rubric) {
  const names = new Map(rubric.criteria.map((criterion) => [criterion.key, criterion.name]));
  const ceilings = new Map(report.ceiling.map((ceiling) => [ceiling.criterion, ceiling]));
  const rows = report.agreement.criteria.map((criterion) => {
    const ceiling = ceilings.get(criterion.criterion);
    return h("tr", {},
      h("th", { scope: "row" }, names.get(criterion.criterion) ?? criterion.criterion), number(criterion.slides),
      estimate(criterion.within_one, percent), estimate(criterion.exact, percent),
      estimate(criterion.quadratic_weighted_kappa, fixed), estimate(criterion.krippendorff_alpha, fixed),
      number(fixed(ceiling?.noise)), number(percent(ceiling?.within_one)), number(fixed(ceiling?.mae)));
  });
  const heads = [column("Criterion"), column("Slides", true), column("Within one", true), column("Exact", true),
    column("Weighted kappa", true), column("Krippendorff's alpha", true), column("Noise", true),
    column("Ceiling within one", true), column("Ceiling error", true)];
  const caption = "Pairs of ratings of one slide, with 95 % intervals over decks. The ceiling is what a perfect model could reach given the raters' noise (in points).";
  return [table(caption, heads, rows)];
}

let chosen = null;

export function pairTable(place, report, rubric) {
  chosen ??= rubric.criteria[0].key;
  const options = rubric.criteria.map((criterion) => h("option", { value: criterion.key, selected: criterion.key === chosen }, criterion.name));
  const select = h("select", {}, ...options);
  select.addEventListener("change", () => { chosen = select.value; pairTable(place, report, rubric); });
  const rows = report.pairs.filter((pair) => pair.criterion === chosen).map((pair) => h("tr", {},
    h("th", { scope: "row" }, `${pair.a} and ${pair.b}`), number(pair.slides), estimate(pair.within_one, percent),
    estimate(pair.exact, percent), estimate(pair.quadratic_weighted_kappa, fixed), estimate(pair.krippendorff_alpha, fixed)));
  const heads = [column("Pair"), column("Slides", true), column("Within one", true), column("Exact", true),
    column("Weighted kappa", true), column("Krippendorff's alpha", true)];
  const isChosen = place.contains(document.activeElement) && document.activeElement.matches("select");
  place.replaceChildren(h("label", {}, "Criterion ", select), table("How two people agree on the slides both rated.", heads, rows));
  if (isChosen) select.focus();
}
