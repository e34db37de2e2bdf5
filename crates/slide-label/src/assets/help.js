// The model's scores, shown only after the rater has committed.

import { api } from "./api.js";
import { $, h, newId } from "./dom.js";
import { focusSave } from "./form.js";
import { page, say } from "./page.js";

export function hideHelp() {
  page.help = null;
  $("model").hidden = true;
  $("anchors").hidden = false;
}

export function showHelp(prediction) {
  const { form, outbox, shown } = page;
  page.help = prediction;
  const known = form.criteria.filter((criterion) => criterion.key in prediction.expected);
  const rows = known.map((criterion) => h("li", {}, `${criterion.name}: ${prediction.expected[criterion.key].toFixed(1)}`));
  $("model").replaceChildren(
    h("p", {}, h("strong", {}, `The model (${prediction.model_version}) says`)), h("ul", {}, ...rows), correctionButton(shown),
    h("p", {}, "Change your scores if it has convinced you, or go on with Enter."));
  $("model").hidden = false;
  $("anchors").hidden = true;
  $("rating").scrollTop = 0;
  outbox.add({
    id: newId(), kind: "model_seen", slide_id: shown.slide_id, annotator: page.session.person.name,
    model_version: prediction.model_version,
  });
  focusSave();
}

/** Sends the rater's scores as a correction of the model's; pressed twice it counts once. */
function correctionButton(slide) {
  const id = newId();
  const button = h("button", { type: "button" }, "Send my scores as a correction");
  button.addEventListener("click", async () => {
    try {
      await api("POST", "/corrections", { id, slide_id: slide.slide_id, notes: page.form.values().notes });
      button.replaceWith(h("p", {}, "The correction was kept."));
    } catch (failure) {
      say(failure.message, "offline");
    }
  });
  return button;
}
