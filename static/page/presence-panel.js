'use strict';

// The panel that shows who is in a room, and says how much that is worth.

function setUpPresencePanel(connection, list) {
  onSubmit(byId('presence-form'), () => list.watch(byId('presence-room').value));
  list.addEventListener('change', () => showPresence(connection, list));
  showPresence(connection, list);
}

function showPresence(connection, list) {
  byId('presence-state').textContent = list.refusal ? '' : presenceState(connection, list);
  byId('presence-problem').textContent = list.refusal ? presenceProblem(list) : '';
  byId('present').replaceChildren(...list.clients.map((client) =>
    presentClient(client, client.clientId === connection.id)));
}

function presenceState(connection, { room, clients, readAt, isJoined }) {
  if (!room) return 'Of a room with presence this shows who is there.';
  if (!readAt) return `Asking who is in ${room} …`;
  const count = clients.length === 0 ? 'Nobody is' : String(clients.length);
  const there = `${count} in ${room}`;
  if (isJoined && connection.isConnected) return `${there}, kept up to date.`;
  const then = `${there} when asked at ${readAt.toLocaleTimeString()}.`;
  if (!connection.isConnected) return `${then} Asked again once connected.`;
  return `${then} Join the room to be told who comes and goes.`;
}

function presenceProblem({ room, refusal }) {
  if (refusal.code !== 'forbidden') return `No list of ${room}: ${refusal.message}`;
  return `No presence in ${room}: ${refusal.message} A room has presence if its name begins with `
    + 'a prefix of GTOWER_PRESENCE_ROOMS; a token must allow it too.';
}

function presentClient({ clientId, userId, info }, isThisPage) {
  const node = element(
    'li',
    {},
    userId === undefined
      ? element('span', { className: 'hint', textContent: 'no user' })
      : element('strong', { textContent: userId }),
    element('code', { textContent: clientId }),
  );
  if (isThisPage) node.append(element('span', { className: 'tag', textContent: 'this page' }));
  if (info !== undefined) node.append(jsonBlock(prettyJson(info)));
  return node;
}
