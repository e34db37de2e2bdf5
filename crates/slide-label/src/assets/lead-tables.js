// The tables of the lead's page.

import { h } from "./dom.js";

const column = (text, isNumber) => h("th", { scope: "col", className: isNumber ? "number" : "" }, text);
const number = (...content) => h("td", { className: "number" }, ...content);
const isKnown = (value) => value !== null && value !== undefined;
const fixed = (value, digits = 2) => (isKnown(value) ? value.toFixed(digits) : "–");
const percent = (value) => (isKnown(value) ? `${(100 * value).toFixed(0)} %` : "–");
const place = (value) => `${100 * Math.max(0, Math.min(1, value))}%`;

/** A value from 0 to 1 as a dot, its interval as a line; the numbers stand beside it. */
function gauge(value, low, high) {
  const line = h("i");
  line.style.left = place(low ?? 0);
  line.style.width = place((high ?? value) - (low ?? 0));
  const dot = isKnown(low) ? h("b") : null;
  if (dot) dot.style.left = place(value);
  return h("div", { className: "gauge", "aria-hidden": "true" }, line, dot);
}

/** A measure with its 95 % interval. */
function measure({ value, low, high }, format) {
  const range = isKnown(low) ? h("span", { className: "range" }, `${format(low)} to ${format(high)}`) : null;
  return h("td", { className: "measure" }, format(value), isKnown(low) ? gauge(value, low, high) : null, range);
}

/** A value with its interval below it, without a gauge. */
const range = ({ value, low, high }, format) =>
  number(format(value), isKnown(low) ? h("span", { className: "range" }, `${format(low)} to ${format(high)}`) : null);

function table(caption, heads, rows) {
  return h("div", { className: "table-box", tabIndex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows)));
}

const figure = (value, text) => h("div", { className: "figure" }, h("b", {}, String(value)), h("span", {}, text));

export function progressTable(report) {
  const raters = report.agreement.raters.filter((rater) => rater.ratings > 0);
  const severities = new Map(raters.map((rater) => [rater.annotator, rater.severity]));
  const rows = report.people.map((person) => h("tr", {},
    h("th", { scope: "row" }, person.name),
    h("td", {}, h("div", { className: "share" }, gauge(person.rated / Math.max(1, person.rated + person.open)), String(person.rated))),
    number(person.open), number(person.skipped),
    number(isKnown(person.median_seconds) ? `${person.median_seconds.toFixed(0)} s` : "–"),
    number(signed(severities.get(person.name))),
    h("td", {}, person.last_at ? new Date(person.last_at).toLocaleString() : "not yet")));
  const heads = [column("Person"), column("Rated"), column("Open", true), column("Skipped", true),
    column("Time a slide", true), column("Severity", true), column("Last rating")];
  const { shown, changed } = report.model_help;
  return [
    h("div", { className: "figures" },
      figure(`${report.complete} / ${report.slides}`, `slides rated by ${report.raters_per_slide} or more`),
      figure(report.agreement.ratings, "ratings"),
      figure(report.disputes.open, "disputes open"),
      figure(report.disputes.decided, "disputes decided"),
      figure(report.corrections, "corrections of the model"),
      shown > 0 ? figure(percent(changed / shown), `of ${shown} ratings changed after the model was shown`) : null),
    ...notices(report),
    table("Severity is how many points a person scores below the others on the same slides.", heads, rows),
  ];
}

/** What a lead must know before they act on the numbers. */
function notices(report) {
  const { groups } = report.agreement;
  const found = Object.entries(report.uncounted).map(([key, ratings]) =>
    `“${key}” is not a criterion of the rubric: its scores in ${ratings} ${ratings === 1 ? "rating" : "ratings"} do not count. They are kept; what else these ratings say counts.`);
  if (groups.length > 1) {
    found.push(`These people share no slide, so nobody can say which group is more severe: ${groups.map((group) => group.join(", ")).join(" · ")}.`);
  }
  return found.map((text) => h("p", { className: "notice" }, text));
}

function signed(value) {
  if (value === undefined) return "–";
  const text = Math.abs(value).toFixed(2);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

const namesOf = (rubric) => new Map(rubric.criteria.map((criterion) => [criterion.key, criterion.name]));

const MEASURES = ["Within one point", "Exact", "Weighted kappa", "Krippendorff's alpha"];

const measures = (found) => [measure(found.within_one, percent), measure(found.exact, percent),
  measure(found.quadratic_weighted_kappa, fixed), measure(found.krippendorff_alpha, fixed)];

export function agreementTable(report, rubric) {
  const names = namesOf(rubric);
  const heads = () => [column("Criterion"), column("Slides", true), ...MEASURES.map((name) => column(name))];
  const rows = (criteria) => criteria.map((found) => h("tr", {},
    h("th", { scope: "row" }, names.get(found.criterion) ?? found.criterion), number(found.slides), ...measures(found)));
  const { criteria, calibration } = report.agreement;
  const rest = calibration.length > 0 ? " outside calibration" : "";
  const tables = [table(`How two raters of one slide agree, as a mean over the slides${rest}, with 95 % intervals over decks.`, heads(), rows(criteria))];
  if (calibration.length > 0) tables.push(table("The same on the calibration slides, which everybody rates.", heads(), rows(calibration)));
  return tables;
}

export function ceilingTable(report, rubric) {
  const names = namesOf(rubric);
  const rows = report.ceiling.map((found) => h("tr", {},
    h("th", { scope: "row" }, names.get(found.criterion) ?? found.criterion),
    number(found.slides, found.is_too_few ? h("span", { className: "range" }, "too few to go by") : null),
    range(found.noise, fixed), range(found.within_one, percent), range(found.exact, percent), range(found.mae, fixed),
    number(percent(found.person_within_one)), number(fixed(found.person_mae))));
  const heads = [column("Criterion"), column("Slides", true), column("Raters' noise", true), column("Model within one", true),
    column("Model exact", true), column("Model error", true), column("Person within one", true), column("Person error", true)];
  const caption = "What a perfect model could reach against these labels, given the raters' noise in points, with 95 % intervals over decks; and what one person reaches against the others. Slides: rated by two or more.";
  if (rows.length === 0) return [h("p", {}, "It is known once some slides are rated by two people.")];
  return [table(caption, heads, rows)];
}

let chosen = null;

export function pairTable(box, report, rubric) {
  chosen ??= rubric.criteria[0].key;
  const options = rubric.criteria.map((criterion) => h("option", { value: criterion.key, selected: criterion.key === chosen }, criterion.name));
  const select = h("select", {}, ...options);
  select.addEventListener("change", () => { chosen = select.value; pairTable(box, report, rubric); });
  const rows = report.pairs.filter((pair) => pair.criterion === chosen).map((pair) => h("tr", {},
    h("th", { scope: "row" }, `${pair.a} and ${pair.b}`), number(pair.slides), ...measures(pair)));
  const heads = [column("Pair"), column("Slides", true), ...MEASURES.map((name) => column(name))];
  const isChosen = box.contains(document.activeElement) && document.activeElement.matches("select");
  box.replaceChildren(h("label", { className: "pick" }, "Criterion", select), table("How two people agree on the slides both rated.", heads, rows));
  if (isChosen) select.focus();
}
