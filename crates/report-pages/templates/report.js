// In a deck report: one click corrects a score. A report that a service shows sends it at once. One that was opened as a file keeps what
// was corrected until its reader downloads that as a file.

const NAME = 'pq-score-name';
const said = document.getElementById('corrected');
const annotator = document.getElementById('annotator');
const tray = document.getElementById('tray');

// A browser may keep nothing of a page that was opened as a file.
const store = {
  get(key) {
    try { return localStorage.getItem(key); } catch { return null; }
  },
  set(key, text) {
    try { localStorage.setItem(key, text); return true; } catch { return false; }
  },
};

const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
const slideOf = (part) => part.closest('[data-slide-id]');
const groupsOf = (slide) => [...slide.querySelectorAll('.correct [data-key]')];
const buttonsOf = (group) => [...group.querySelectorAll('[data-score]')];
const scoreOf = (button) => (button.dataset.score === '' ? null : Number(button.dataset.score));
const nameOf = (button) => `${slideOf(button).getAttribute('aria-label')}, ${button.getAttribute('aria-label')}`;
const notesOf = (slide) => slide.querySelector('.notes textarea').value.trim();

// Who corrects; empty where that is still to be said.
function corrector() {
  const name = annotator.value.trim();
  if (name === '') {
    said.textContent = 'Say your name first: corrections are noted under it.';
    annotator.focus();
  }
  return name;
}

function press(group, pressed) {
  for (const button of buttonsOf(group)) button.setAttribute('aria-pressed', String(button === pressed));
}

// Sends each correction to the service that shows the page, one after another: the last word counts.
function sending() {
  const TOKEN = 'pq-score-token';
  let sent = Promise.resolve();

  async function send(button, name) {
    const slide = slideOf(button);
    const scores = {[button.parentElement.dataset.key]: scoreOf(button)};
    const body = {id: button.dataset.sent ??= newId(), slide_id: slide.dataset.slideId, annotator: name, scores, notes: notesOf(slide)};
    const token = sessionStorage.getItem(TOKEN);
    const headers = {'content-type': 'application/json', ...(token && {authorization: `Bearer ${token}`})};
    try {
      const signal = AbortSignal.timeout(60000);
      const response = await fetch('/corrections', {method: 'POST', headers, body: JSON.stringify(body), signal});
      const answer = await response.json().catch(() => ({}));
      if (!response.ok) throw new Error(answer.message ?? `the service answered ${response.status}`);
    } catch (error) {
      said.textContent = `${nameOf(button)} is not noted: ${error.message}`;
      return;
    }
    press(button.parentElement, button);
    for (const other of buttonsOf(button.parentElement)) if (other !== button) delete other.dataset.sent;
    said.textContent = `${nameOf(button)} is noted. Thank you.`;
  }

  function correct(button) {
    const name = corrector();
    if (name !== '') sent = sent.then(() => send(button, name));
  }

  // What was corrected already is sent again with the reason, as corrections of their own.
  function explain(slide) {
    for (const button of slide.querySelectorAll('[data-sent]')) {
      delete button.dataset.sent;
      if (button.getAttribute('aria-pressed') === 'true') correct(button);
    }
  }

  document.addEventListener('change', (event) => {
    if (event.target.matches('.notes textarea')) explain(slideOf(event.target));
  });
  return {correct};
}

// Keeps corrections by slide and criterion: those that stand in a file already (`filed`), and those that wait for one. The id of one that
// went into a file stays; what is changed afterwards is another correction, made later, which wins.
function filing() {
  const KEY = `pq-corrections-1:${tray.dataset.report}`;
  const FILE = tray.dataset.file;
  const slides = [...document.querySelectorAll('[data-slide-id]')];
  const nothing = () => ({filed: {}, waiting: {}, notes: {}});
  let state = nothing();
  let isKept = true;

  const slotOf = (group) => JSON.stringify([slideOf(group).dataset.slideId, group.dataset.key]);
  const slotOfNotes = (slide) => JSON.stringify([slide.dataset.slideId]);
  const modelsOf = (group) => scoreOf(group.querySelector('.chosen'));
  const waiting = () => Object.values(state.waiting);
  const count = (n) => `${n} ${n === 1 ? 'correction' : 'corrections'}`;

  // What the reader says of a criterion: the model's score where that was left alone.
  function saidOf(group) {
    const line = state.waiting[slotOf(group)] ?? state.filed[slotOf(group)];
    return line ? line.scores[group.dataset.key] : modelsOf(group);
  }

  function lineOf(group, score, notes) {
    const slide = slideOf(group);
    const means = groupsOf(slide).filter((other) => other.dataset.predicted);
    const filed = state.filed[slotOf(group)];
    const time = Math.max(Date.now(), filed ? Date.parse(filed.corrected_at) + 1 : 0);
    return {
      schema_version: 1,
      id: newId(),
      slide_id: slide.dataset.slideId,
      model_version: slide.dataset.modelVersion,
      annotator: '',
      corrected_at: new Date(time).toISOString(),
      predicted: Object.fromEntries(means.map((other) => [other.dataset.key, Number(other.dataset.predicted)])),
      scores: {[group.dataset.key]: score},
      notes,
    };
  }

  // What the model says, or the last file, is no correction. Back to the model's score after a file said something else is one.
  function settle(group, score) {
    const [slot, key, isModels] = [slotOf(group), group.dataset.key, score === modelsOf(group)];
    const [filed, before] = [state.filed[slot], state.waiting[slot]];
    const notes = isModels ? '' : state.notes[slotOfNotes(slideOf(group))] ?? '';
    const isSaid = filed ? filed.scores[key] === score && filed.notes === notes : isModels;
    if (isSaid) delete state.waiting[slot];
    else if (before && before.scores[key] === score) before.notes = notes;
    else state.waiting[slot] = lineOf(group, score, notes);
  }

  function recall() {
    try {
      const kept = {...nothing(), ...JSON.parse(isKept ? store.get(KEY) : null) ?? state};
      if (Object.values(kept).every((part) => part && typeof part === 'object')) state = kept;
    } catch { /* nothing of use */ }
  }

  // Another tab may have changed it.
  function change(edit) {
    recall();
    edit();
    isKept = store.set(KEY, JSON.stringify(state));
    draw();
  }

  function drawSlide(slide) {
    let corrected = 0;
    for (const group of groupsOf(slide)) {
      const score = saidOf(group);
      const isCorrected = score !== modelsOf(group);
      press(group, isCorrected && buttonsOf(group).find((button) => scoreOf(button) === score));
      group.querySelector('.undo').hidden = !isCorrected;
      corrected += isCorrected;
    }
    slide.querySelector('.correct summary').textContent = corrected === 0 ? 'Correct' : `Correct · ${corrected} corrected`;
    const [notes, box] = [state.notes[slotOfNotes(slide)] ?? '', slide.querySelector('.notes textarea')];
    if (box.value.trim() !== notes) box.value = notes;
  }

  function draw() {
    slides.forEach(drawSlide);
    const [waits, filed] = [waiting().length, Object.keys(state.filed).length];
    tray.hidden = waits + filed === 0;
    document.getElementById('waiting').textContent = waits > 0
      ? `${count(waits)} ${waits === 1 ? 'waits' : 'wait'} to be downloaded.`
      : `${count(filed)} downloaded: send ${FILE} to the team.`;
    document.getElementById('download').textContent = waits > 0 ? 'Download' : 'Download again';
  }

  function correct(button) {
    change(() => settle(button.parentElement, scoreOf(button)));
    said.textContent = `${nameOf(button)} is noted in this page. ${document.getElementById('waiting').textContent}`;
  }

  function undo(button) {
    const group = button.parentElement;
    change(() => settle(group, modelsOf(group)));
    said.textContent = `${group.getAttribute('aria-label')}: the model's score stands again.`;
    buttonsOf(group).find((other) => !other.disabled).focus();
  }

  function explain(slide) {
    const notes = notesOf(slide);
    change(() => {
      state.notes[slotOfNotes(slide)] = notes;
      for (const group of groupsOf(slide)) if (saidOf(group) !== modelsOf(group)) settle(group, saidOf(group));
    });
  }

  // The file holds all corrections, also those of earlier ones: one that is lost does no harm.
  function download() {
    const annotator = corrector();
    if (annotator === '') return;
    change(() => {
      for (const [slot, line] of Object.entries(state.waiting)) state.filed[slot] = {...line, annotator};
      state.waiting = {};
    });
    const lines = Object.values(state.filed).sort((a, b) => a.corrected_at.localeCompare(b.corrected_at));
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    const href = URL.createObjectURL(new Blob([text], {type: 'application/jsonl'}));
    Object.assign(document.createElement('a'), {href, download: FILE}).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
    said.textContent = document.getElementById('waiting').textContent;
  }

  document.addEventListener('input', (event) => {
    if (event.target.matches('.notes textarea')) explain(slideOf(event.target));
  });
  document.getElementById('download').addEventListener('click', download);
  addEventListener('storage', (event) => {
    if (event.key !== KEY) return;
    recall();
    draw();
  });
  addEventListener('beforeunload', (event) => {
    if (waiting().length > 0) event.preventDefault();
  });
  recall();
  try { draw(); } catch { state = nothing(); draw(); }
  return {correct, undo};
}

annotator.value = store.get(NAME) ?? '';
annotator.addEventListener('change', () => store.set(NAME, annotator.value.trim()));
const door = tray ? filing() : sending();
document.addEventListener('click', (event) => {
  const button = event.target.closest('.correct button');
  if (!button || button.disabled) return;
  if (button.matches('.undo')) door.undo(button);
  else door.correct(button);
});
for (const part of document.querySelectorAll('.who, .correct')) part.hidden = false;
