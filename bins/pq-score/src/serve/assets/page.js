// The page for founders: hands in a deck, watches it being rated, shows the report.

const get = (id) => document.getElementById(id);
const TOKEN = 'pq-score-token';

/** Asks the service; a refusal becomes an error with the service's own words. */
async function ask(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = {...options.headers, ...(token && {authorization: `Bearer ${token}`})};
  let response;
  try {
    response = await fetch(path, {...options, headers});
  } catch {
    throw Object.assign(new Error('The service cannot be reached.'), {again: 2});
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  if (response.status === 401) signIn(token !== null);
  const again = Number(response.headers.get('retry-after')) || 0;
  throw Object.assign(new Error(said.message ?? `The service answered ${response.status}.`), {status: response.status, again});
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

function show(part) {
  for (const id of ['choose', 'working', 'report']) get(id).hidden = id !== part;
  get('main').classList.toggle('wide', part === 'report');
}

function say(trouble) {
  get('trouble').textContent = trouble;
  get('trouble').hidden = trouble === '';
}

function signIn(wasRefused) {
  sessionStorage.removeItem(TOKEN);
  get('sign-in').hidden = false;
  show('');
  say(wasRefused ? 'That is not the token of this service.' : '');
  get('token').focus();
}

/** A name for the request, so that it can be sent again without being rated twice. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The job that the next deck is compared with. */
let older = null;

function compareWith(job) {
  older = job;
  get('older').hidden = job === null;
  get('older-name').textContent = job?.name ?? '';
}

async function handIn(file) {
  say('');
  show('working');
  get('working-title').textContent = file.name;
  get('bar').removeAttribute('value');
  get('status').textContent = 'Sending the deck …';
  const key = newKey();
  try {
    const before = older === null ? '' : `&before=${encodeURIComponent(older.id)}`;
    const path = `/decks?name=${encodeURIComponent(file.name)}${before}`;
    const job = await insist(() => ask(path, {method: 'POST', body: file, headers: {'idempotency-key': key, 'content-type': 'application/octet-stream'}}));
    await watch(await job.json());
  } catch (error) {
    if (error.status === 401) return;
    if (error.status === 404) compareWith(null); // the older version is no longer kept
    show('choose');
    say(error.message);
  }
}

/** Asks again while the service is busy or away, for a few minutes. */
async function insist(asking) {
  const until = Date.now() + 5 * 60_000;
  for (;;) {
    try {
      return await asking();
    } catch (error) {
      const mayPass = error.again > 0 && error.status !== 409;
      if (!mayPass || Date.now() > until) throw error;
      get('status').textContent = `${error.message} Trying again …`;
      await pause(Math.min(error.again, 15));
    }
  }
}

async function watch(job) {
  while (job.state === 'queued' || job.state === 'running') {
    tell(job);
    await pause(0.6);
    const {id} = job;
    job = await (await insist(() => ask(`/decks/${id}`))).json();
  }
  if (job.state === 'failed') throw new Error(`No slide could be rated: ${job.failed.join('; ')}`);
  tell(job);
  await showReport(job);
}

function tell(job) {
  const done = job.scored + job.failed.length;
  if (job.state === 'queued') {
    get('status').textContent = job.ahead > 0 ? `${job.ahead} decks are before it.` : 'It is next.';
  } else {
    if (job.pages) Object.assign(get('bar'), {max: job.pages, value: Math.min(done, job.pages)});
    get('status').textContent = job.pages ? `${done} of ${job.pages} slides are rated.` : 'The deck is being read …';
  }
}

async function showReport(job) {
  const page = await (await insist(() => ask(`/decks/${job.id}/report`))).text();
  show('report');
  get('report-title').textContent = job.name;
  const known = job.cached > 0 ? ` ${job.cached} had been rated before and did not change.` : '';
  const failed = job.failed.length > 0 ? ` ${job.failed.length} could not be rated.` : '';
  get('summary').textContent = `${job.scored} slides, rated by ${job.model_version}.${known}${failed}`;
  get('page').srcdoc = page;
  get('report-title').focus();
  get('newer').onclick = () => { compareWith(job); chooseAgain(); };
  get('keep').onclick = async () => {
    try {
      const plain = await (await ask(`/decks/${job.id}/report?plain=true`)).blob();
      const link = Object.assign(document.createElement('a'), {href: URL.createObjectURL(plain), download: `${job.name}.html`});
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (error) {
      say(error.message);
    }
  };
}

const choose = get('choose');
choose.addEventListener('submit', (event) => event.preventDefault());
get('deck').addEventListener('change', (event) => {
  const [file] = event.target.files;
  event.target.value = '';
  if (file) handIn(file);
});
for (const kind of ['dragenter', 'dragover']) {
  choose.addEventListener(kind, (event) => { event.preventDefault(); choose.classList.add('over'); });
}
for (const kind of ['dragleave', 'drop']) choose.addEventListener(kind, () => choose.classList.remove('over'));
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file && !choose.hidden) handIn(file);
});
function chooseAgain() {
  show('choose');
  say('');
  get('deck').focus();
}

get('again').addEventListener('click', () => { compareWith(null); chooseAgain(); });
get('alone').addEventListener('click', () => { compareWith(null); chooseAgain(); });
get('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, get('token').value.trim());
  get('token').value = '';
  get('sign-in').hidden = true;
  say('');
  start();
});

/** Sees whether the token is right before a deck is dragged in vain. */
async function start() {
  show('choose');
  try {
    await ask('/metrics');
  } catch (error) {
    if (error.status !== 401) say(error.message);
  }
}
start();
