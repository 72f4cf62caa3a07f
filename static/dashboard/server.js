// The way to the server: its own Socket.IO path for what changes all the time, the HTTP API for
// the rest, both with the key that somebody has signed in with.

const KEY = 'gtower.dashboard-key';

export class Server {
  #socket = io({ path: '/dashboard/socket.io/', autoConnect: false });

  // Calls `onNumbers` and `onEvents` with what comes, `onConnected`, `onLost` with a sentence when
  // the server is away, and `onRefused` with the server's own when the key is missing or not right.
  constructor({ onNumbers, onEvents, onConnected, onLost, onRefused }) {
    this.#socket.on('numbers', onNumbers);
    this.#socket.on('events', onEvents);
    this.#socket.on('connect', onConnected);
    this.#socket.on('disconnect', () => onLost('Connection lost'));
    this.#socket.on('connect_error', (error) => {
      if (error.data) onRefused(error.message);
      else onLost('The server does not answer');
    });
  }

  connect(key = sessionStorage.getItem(KEY)) {
    if (key) sessionStorage.setItem(KEY, key);
    this.#socket.auth = { key };
    this.#socket.disconnect().connect();
  }

  get isConnected() {
    return this.#socket.connected;
  }

  signOut() {
    sessionStorage.removeItem(KEY);
  }

  // Returns the answer's JSON. Throws an Error with the server's sentence when it refuses.
  async ask(path, request) {
    return (await this.askCluster(path, request)).said;
  }

  // Returns {said, missing}: the answer's JSON, and a sentence if not all nodes had a part in it.
  async askCluster(path, { method = 'GET', body } = {}) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...(key && { 'X-API-Key': key }) };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.message);
    return { said, missing: whatIsMissing(said, answer.headers) };
  }
}

// A path of the API: what stands between the slashes is a name of somebody's choosing.
export const path = (strings, ...names) =>
  strings.reduce((whole, part, index) => whole + encodeURIComponent(names[index - 1]) + part);
