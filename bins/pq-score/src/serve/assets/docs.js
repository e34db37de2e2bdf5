// Shows the interface and tries it: every operation of openapi.json with what it takes.

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

function field(label, input) {
  return element('p', {}, element('label', {}, `${label} `, input));
}

async function send(path, method, inputs, file, text, out) {
  let url = path;
  const headers = {};
  const query = new URLSearchParams();
  for (const [parameter, input] of inputs) {
    if (input.value === '') continue;
    if (parameter.in === 'path') url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    if (parameter.in === 'query') query.set(parameter.name, input.value);
    if (parameter.in === 'header') headers[parameter.name] = input.value;
  }
  const token = document.getElementById('token').value;
  if (token !== '') headers.authorization = `Bearer ${token}`;
  const body = file?.files[0] ?? (text?.value || undefined);
  if (text && body) headers['content-type'] = 'application/json';
  if (file?.files[0] && !query.has('name')) query.set('name', file.files[0].name);
  out.textContent = '…';
  try {
    const response = await fetch(query.size > 0 ? `${url}?${query}` : url, {method, headers, body});
    const answer = await response.text();
    let shown = answer;
    try { shown = JSON.stringify(JSON.parse(answer), null, 2); } catch { /* not JSON: as it is */ }
    out.textContent = `${response.status}\n${shown.slice(0, 20_000)}`;
  } catch (error) {
    out.textContent = String(error);
  }
}

function operation(path, method, described) {
  const inputs = (described.parameters ?? []).map((parameter) => [parameter, element('input', {type: 'text', required: parameter.required === true})]);
  const kinds = Object.keys(described.requestBody?.content ?? {});
  const file = kinds.includes('application/octet-stream') ? element('input', {type: 'file'}) : undefined;
  const text = kinds.includes('application/json') ? element('textarea', {rows: 4, value: '{"slide_id": "", "annotator": "", "scores": {}}'}) : undefined;
  const out = element('pre', {tabIndex: 0, hidden: true});
  out.setAttribute('aria-label', `Answer of ${method} ${path}`);
  const form = element('form', {}, ...inputs.map(([parameter, input]) => field(parameter.name, input)));
  if (file) form.append(field('file', file));
  if (text) form.append(field('body', text));
  form.append(element('button', {}, 'Send'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    out.hidden = false;
    send(path, method, inputs, file, text, out);
  });
  const answers = Object.entries(described.responses).map(([status, {description}]) => `${status} ${description}`.trim());
  return element('section', {}, element('h2', {}, element('code', {}, `${method} ${path}`)),
    element('p', {}, described.summary ?? described.description ?? ''), element('p', {className: 'soft'}, `Answers: ${answers.join(' · ')}`), form, out);
}

const described = await (await fetch('/openapi.json')).json();
document.getElementById('about').textContent = described.info.description;
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, details] of Object.entries(methods)) {
    document.getElementById('operations').append(operation(path, method.toUpperCase(), details));
  }
}
