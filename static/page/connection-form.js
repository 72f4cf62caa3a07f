'use strict';

// The connection form and the state in the header.

const DEFAULT_SERVER = FROM_DISK ? 'http://localhost:3000' : new URL('.', location.href).href;
const STATE_WORDS = {
  disconnected: 'Disconnected',
  connecting: 'Connecting…',
  connected: 'Connected',
  reconnecting: 'Reconnecting…',
  refused: 'Refused',
};

function setUpConnectionForm(connection) {
  const form = byId('connection');
  byId('server').value = DEFAULT_SERVER.replace(/\/$/, '');
  form.querySelectorAll('input, select').forEach(rememberInTab);
  onSubmit(form, () => {
    if (connection.state === 'disconnected' || connection.state === 'refused') {
      connectFromForm(connection);
    } else {
      connection.disconnect();
    }
  });
  byId('break-line').addEventListener('click', () => connection.breakLine());
  byId('copy-id').addEventListener('click', (event) => {
    copyText(connection.id, event.currentTarget);
  });
  connection.addEventListener('change', () => showConnection(connection));
  showConnection(connection);
}

function connectFromForm(connection) {
  const server = serverUrl();
  if (!server) {
    byId('connection-problem').textContent = 'The server URL must look like http://localhost:3000';
    return;
  }
  connection.connect({
    server,
    namespace: byId('namespace').value.trim() || '/',
    transport: byId('transport').value,
    readToken: () => byId('token').value,
  });
}

// The URL of the form as a URL object, or null when it is not one of a web server.
function serverUrl() {
  const text = byId('server').value.trim();
  if (!URL.canParse(text)) return null;
  const url = new URL(text);
  return ['http:', 'https:'].includes(url.protocol) ? url : null;
}

// The server's address without a slash at its end.
function serverAddress() {
  return (serverUrl()?.href ?? DEFAULT_SERVER).replace(/\/+$/, '');
}

function showConnection(connection) {
  const isOff = connection.state === 'disconnected' || connection.state === 'refused';
  byId('state').dataset.state = connection.state;
  byId('state').textContent = STATE_WORDS[connection.state];
  byId('connection-problem').textContent = connection.problem;
  byId('client-id').textContent = connection.id ?? '–';
  byId('client-transport').textContent = connection.transport ?? '–';
  byId('client-recovered').textContent = connection.recovered ?? '–';
  byId('connect').textContent = isOff ? 'Connect' : 'Disconnect';
  byId('connect').classList.toggle('primary', isOff);
  byId('break-line').disabled = !connection.isConnected;
  byId('copy-id').hidden = !connection.isConnected;
}

function showMissingBundle() {
  byId('missing-bundle').hidden = false;
  byId('connect').disabled = true;
}
