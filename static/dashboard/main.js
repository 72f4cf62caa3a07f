// The dashboard: what comes from the server goes to the parts of the page that show it.

import { Clients } from './clients.js';
import { Days } from './days.js';
import { Feed } from './feed.js';
import { Nodes } from './nodes.js';
import { total } from './numbers.js';
import { Overview } from './overview.js';
import { Rooms } from './rooms.js';
import { Server } from './server.js';
import { Trouble } from './trouble.js';

const LISTS_EVERY = 5000;
const DAYS_EVERY = 60_000;
const LATELY_SECONDS = 60;
// Rates over a few seconds: over one they jump, and what is rare is never seen.
const NOW_SECONDS = 5;

// How the page's one sign of life looks in each state of the server.
const LOOKS = { active: 'connected', draining: 'connecting', degraded: 'connecting' };

const server = new Server({
  onNumbers,
  onEvents: (seen) => feed.add(seen),
  onConnected: () => {
    refreshLists();
    days.refresh();
  },
  onLost: (sentence) => showState(sentence, 'reconnecting'),
  onRefused,
});
const overview = new Overview(byId('tiles'), byId('charts'));
const clients = new Clients(server);
const rooms = new Rooms(server);
const feed = new Feed();
const trouble = new Trouble(byId('trouble-tables'));
const days = new Days(server);
const nodes = new Nodes(byId('nodes-table'));

let looks = [];

function onNumbers({ timestamp, status, node, nodes: known, redis, samples, slow }) {
  const now = { at: Date.parse(timestamp) / 1000, samples };
  // Another process, or the same one begun anew: nothing from before can be compared.
  if (looks.length && looks.at(-1).node !== node.startedAt) looks = [];
  looks.push({ ...now, node: node.startedAt });
  while (looks.length > 2 && now.at - looks[0].at > LATELY_SECONDS) looks.shift();
  const isAlone = redis === 'alone';
  showState(isAlone ? `${status} · Redis is away` : status, isAlone ? 'connecting' : LOOKS[status]);
  clients.noteSlow(slow);
  overview.show(now, looks.find(({ at }) => now.at - at <= NOW_SECONDS));
  trouble.show(now, looks[0], slow);
  byId('overview-note').textContent = known?.length > 1 ? `Of ${node.name}, one of ${known.length} nodes.` : '';
  // An older server, which the page may meet in a rolling upgrade, tells of itself alone.
  nodes.show(known ?? [{ ...node, clients: total(now, 'gtower_clients'), isHere: true }], status);
}

function showState(text, look) {
  const state = byId('state');
  // Written only when it changes: it is read out to those who do not see it.
  if (state.textContent !== text) state.textContent = text;
  state.dataset.state = look;
}

function onRefused(sentence) {
  showState('Not signed in', 'refused');
  server.signOut();
  byId('sign-in-problem').textContent = byId('key').value ? sentence : '';
  byId('sign-in').hidden = false;
  byId('key').focus();
}

onSubmit(byId('sign-in'), () => {
  byId('sign-in').hidden = true;
  server.connect(byId('key').value.trim());
});

function refreshLists() {
  clients.refresh();
  rooms.refresh();
}

function whileWatched(work) {
  return () => { if (!document.hidden && server.isConnected) work(); };
}

setInterval(whileWatched(refreshLists), LISTS_EVERY);
setInterval(whileWatched(() => days.refresh()), DAYS_EVERY);
server.connect();
