// In a report that the service shows: one click corrects a score.

const TOKEN = 'pq-score-token';
const NAME = 'pq-score-name';
const said = document.getElementById('corrected');
const annotator = document.getElementById('annotator');
annotator.value = localStorage.getItem(NAME) ?? '';
annotator.addEventListener('change', () => localStorage.setItem(NAME, annotator.value.trim()));

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function correct(button) {
  const slide = button.closest('[data-slide-id]');
  const name = annotator.value.trim();
  if (name === '') {
    said.textContent = 'Say your name first: corrections are noted under it.';
    annotator.focus();
    return;
  }
  const score = button.dataset.score === '' ? null : Number(button.dataset.score);
  const body = {id: button.dataset.sent ??= newId(), slide_id: slide.dataset.slideId, annotator: name, scores: {[button.dataset.key]: score}};
  const token = sessionStorage.getItem(TOKEN);
  const headers = {'content-type': 'application/json', ...(token && {authorization: `Bearer ${token}`})};
  const label = `${slide.getAttribute('aria-label')}, ${button.getAttribute('aria-label')}`;
  try {
    const response = await fetch('/corrections', {method: 'POST', headers, body: JSON.stringify(body)});
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(answer.message ?? `the service answered ${response.status}`);
  } catch (error) {
    said.textContent = `${label} is not noted: ${error.message}`;
    return;
  }
  for (const other of button.parentElement.querySelectorAll('button')) {
    other.setAttribute('aria-pressed', String(other === button));
    if (other !== button) delete other.dataset.sent;
  }
  said.textContent = `${label} is noted. Thank you.`;
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('.correct button');
  if (button && !button.disabled) correct(button);
});
