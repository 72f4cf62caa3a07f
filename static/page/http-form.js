'use strict';

// The HTTP side: any call of the catalogue, its answer, and the same call for curl.

function setUpHttpForm(connection, log) {
  const pathValues = { ...PATH_SAMPLES };
  byId('call').append(...callGroups());
  byId('http').addEventListener('input', showCurl);
  byId('server').addEventListener('input', showCurl);
  byId('api-key').addEventListener('input', showCurl);
  byId('copy-curl').addEventListener('click', (event) => {
    copyText(byId('curl').textContent, event.currentTarget);
  });
  onSubmit(byId('http'), () => sendFromForm(log, pathValues));
  connection.addEventListener('event', ({ detail }) => followClients(detail));
  connection.addEventListener('sessionlost', () => byId('known-clients').replaceChildren());
  connection.addEventListener('change', () => {
    if (connection.isConnected) suggestClient(connection.id);
    showOwnId(connection);
    showCurl();
  });
  byId('call').addEventListener('input', () => showCall(connection, pathValues));
  showCall(connection, pathValues);
}

function callGroups() {
  return [...Map.groupBy(HTTP_CALLS, (call) => call.group)].map(([label, calls]) =>
    element('optgroup', { label }, ...calls.map((call) =>
      element('option', { value: HTTP_CALLS.indexOf(call), textContent: call.label }))));
}

function chosenCall() {
  return HTTP_CALLS[byId('call').value];
}

function showCall(connection, pathValues) {
  const { path, body, query } = chosenCall();
  byId('path-fields').replaceChildren(...pathNames(path).map((name) => pathField(name, pathValues)));
  byId('body').value = prettyJson(body);
  byId('body-field').hidden = body === undefined;
  byId('query').value = query ?? '';
  byId('query-field').hidden = query === undefined;
  byId('http-answer').replaceChildren();
  showOwnId(connection);
  showCurl();
}

function pathNames(path) {
  return [...path.matchAll(/:(\w+)/g)].map(([, name]) => name);
}

function pathField(name, pathValues) {
  const field = element('input', {
    name,
    required: true,
    autocomplete: 'off',
    spellcheck: false,
    value: pathValues[name],
  });
  if (name === 'clientId') field.setAttribute('list', 'known-clients');
  field.addEventListener('input', () => { pathValues[name] = field.value; });
  return element('label', { className: 'field' }, name, field);
}

function pathInput(name) {
  return byId('path-fields').querySelector(`[name=${name}]`);
}

function pathValue(name) {
  const field = pathInput(name);
  return field.value || field.placeholder;
}

// The request as the form has it now, without the key.
function readRequest() {
  const { method, path, body } = chosenCall();
  const query = byId('query').value.trim();
  const filledPath = path.replace(/:(\w+)/g, (_, name) => encodeURIComponent(pathValue(name)));
  const target = filledPath + (query ? `?${query}` : '');
  return { method, target, body: body && byId('body').value };
}

async function sendFromForm(log, pathValues) {
  const headers = keyHeader(byId('api-key').value);
  const answer = await requestAndShow({ ...readRequest(), headers }, byId('http-answer'), log);
  if (Array.isArray(answer)) answer.forEach(({ id }) => suggestClient(id));
  // What was sent last is what one asks about next.
  if (answer?.recipients !== undefined) pathValues.id = answer.id;
}

function keyHeader(key) {
  return key ? { 'X-API-Key': key } : {};
}

// A client id left empty is this page's own.
function showOwnId(connection) {
  const field = pathInput('clientId');
  if (!field) return;
  field.placeholder = connection.id ?? '';
  field.required = !connection.id;
}

function followClients({ name, payload }) {
  if (name === 'clientJoined') suggestClient(payload.clientId);
  if (name === 'clientLeft') suggestedClient(payload.clientId)?.remove();
}

function suggestClient(id) {
  if (!suggestedClient(id)) byId('known-clients').append(element('option', { value: id }));
}

function suggestedClient(id) {
  return [...byId('known-clients').options].find((option) => option.value === id);
}

// The key is left to the shell's environment, so that a copied command carries no secret.
function showCurl() {
  const { method, target, body } = readRequest();
  const url = shellQuoted(serverAddress() + target);
  const parts = [`curl -i${method === 'GET' ? '' : ` -X ${method}`} ${url}`];
  Object.entries(bodyHeader(body)).forEach(([name, value]) => {
    parts.push(`-H ${shellQuoted(`${name}: ${value}`)}`);
  });
  if (byId('api-key').value) parts.push('-H "X-API-Key: $GTOWER_API_KEY"');
  if (body) parts.push(`-d ${shellQuoted(body)}`);
  byId('curl').textContent = parts.join(' \\\n  ');
}

function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
